/**
 * Stops a role whose npm has ended. npm sends SIGTERM to the shell that it runs a script in, and that shell ends without
 * passing it on, so that the role would run on, unseen. Only under npm: elsewhere a parent may end at any time.
 */
import type { Lifecycle } from './lifecycle.ts';

let firstParent: number | undefined;

/** At the start of the process: a shell can end before the role is up. */
export function rememberParent(): void {
  firstParent = process.ppid;
}

const everyMs = 250;

export interface ParentWatchOptions {
  /** Replaces the process's own, for tests. */
  readonly parentOf?: () => number;
  readonly everyMs?: number;
}

/** Requests a stop when the process gets another parent, as it does when its own ends. Returns what ends the watch. */
export function stopWithParent(
  lifecycle: Pick<Lifecycle, 'requestStop'>,
  options: ParentWatchOptions = {},
): () => void {
  const parentOf = options.parentOf ?? (() => process.ppid);
  const first = firstParent ?? parentOf();
  const timer = setInterval(() => {
    if (parentOf() === first) return;
    clearInterval(timer);
    lifecycle.requestStop('the npm script that started this process has ended');
  }, options.everyMs ?? everyMs).unref();
  return () => clearInterval(timer);
}
