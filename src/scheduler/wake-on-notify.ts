/**
 * Wakes the dispatch when a job is enqueued. An enqueue notifies only while no dispatcher looks for work by itself; what
 * is missed, because a connection was lost for example, is found at the next round.
 */
import { dispatchChannel } from '../jobs/dispatch.ts';

/** A tenant's code may notify, too. */
const leastPauseMs = 10;

/** A listener for `Database.onNotify`. */
export function wakeOnNotify(wake: () => void): (channel: string) => void {
  let wokenAtMs = -Infinity;
  let timer: NodeJS.Timeout | undefined;
  const wakeNow = (): void => {
    timer = undefined;
    wokenAtMs = performance.now();
    wake();
  };
  return (channel) => {
    if (channel !== dispatchChannel) return;
    const leftMs = wokenAtMs + leastPauseMs - performance.now();
    if (leftMs <= 0) wakeNow();
    else timer ??= setTimeout(wakeNow, leftMs).unref();
  };
}
