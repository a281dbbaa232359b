/** The thread of main-thread-watch.ts: writes to stderr that the main thread is blocked, and kills the process. */
import { write } from 'node:fs';
import { workerData } from 'node:worker_threads';
import type { WatchedThread } from './main-thread-watch.ts';

/** The main thread may be blocked by a full pipe: the kill does not wait longer than this for the write. */
const lastLineMs = 1_000;

// Set by watchMainThread.
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
    task: 'main thread',
    silentMs,
    event: 'process_stalled',
  };
  setTimeout(end, lastLineMs);
  write(2, `${JSON.stringify(line)}\n`, end);
}, tickMs);
