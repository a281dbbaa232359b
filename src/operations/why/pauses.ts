/** Pauses as causes: by whom, since when and why. */
import type { Pause, PauseTarget } from '../../jobs/pauses.ts';
import { option, purserCommand } from '../shell-text.ts';
import type { Cause } from './cause.ts';

const titleOf = ({ scope, name }: PauseTarget): string =>
  scope === 'all' ? 'everything' : `${scope === 'tenant' ? 'tenant' : 'job type'} ${name}`;

const optionOf = ({ scope, name }: PauseTarget): string =>
  scope === 'all' ? '--all' : option(scope === 'tenant' ? 'tenant' : 'type', name);

export function pauseCause(pause: Pause): Cause {
  const { scope, name, by, at, reason, stops } = pause;
  return {
    code: 'paused',
    says: `${titleOf(pause)} is ${stops ? 'stopped' : 'paused'} by ${by} since ${at.toISOString()}: ${reason}`,
    lift: purserCommand('resume', optionOf(pause)),
    facts: { scope, name, by, since: at.toISOString(), reason, stops },
  };
}
