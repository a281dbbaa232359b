/** The thread of main-thread-watch.ts: says on stderr that the main thread is blocked, and ends the process. */
import { write } from 'node:fs';
import { workerData } from 'node:worker_threads';
import type { WatchedThread } from './main-thread-watch.ts';

/** A full pipe may be what blocks the main thread: nobody waits longer than this for a last line. */
const lastLineMs = 1_000;

// The main thread starts it, with exactly this.
// oxlint-disable-next-line typescript/no-unsafe-type-assertion
const { role, beats, blockedAfterMs, tickMs } = workerData as WatchedThread;
const counter = new Int32Array(beats);
let seen = -1;
let silentMs = 0;

const end = (): void => void process.kill(process.pid, 'SIGKILL');

const ticks = setInterval(() => {
  const count = Atomics.load(counter, 0);
  silentMs = count === seen ? silentMs + tickMs : 0;
  seen = count;
  if (silentMs < blockedAfterMs) return;
  clearInterval(ticks);
  const at = new Date().toISOString();
  const line = {
    level: 'fatal',
    role,
    at,
    what: 'main thread',
    silentMs,
    event: 'process_stalled',
  };
  setTimeout(end, lastLineMs);
  write(2, `${JSON.stringify(line)}\n`, end);
}, tickMs);
