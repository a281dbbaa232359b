/** The text that names a pause's target, and the command that removes the pause. */
import type { PauseTarget } from '../../jobs/pauses.ts';
import { quoted } from '../../operations/shell-text.ts';

export function pauseTitle({ scope, name }: PauseTarget): string {
  if (scope === 'all') return 'everything';
  return `${scope === 'tenant' ? 'tenant' : 'job type'} ${name}`;
}

export function resumeCommand({ scope, name }: PauseTarget): string {
  if (scope === 'all') return 'purser resume --all';
  return `purser resume --${scope === 'tenant' ? 'tenant' : 'type'}=${quoted(name)}`;
}
