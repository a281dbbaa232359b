/** How a pause is spoken of, and the command that takes it off. */
import type { PauseTarget } from '../../jobs/pauses.ts';

export function pauseTitle({ scope, name }: PauseTarget): string {
  if (scope === 'all') return 'everything';
  return `${scope === 'tenant' ? 'tenant' : 'job type'} ${name}`;
}

/** An argument as a POSIX shell takes it. */
export const quoted = (text: string): string =>
  /^[\w.:@/-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;

export function resumeCommand({ scope, name }: PauseTarget): string {
  if (scope === 'all') return 'purser resume --all';
  return `purser resume --${scope === 'tenant' ? 'tenant' : 'type'}=${quoted(name)}`;
}
