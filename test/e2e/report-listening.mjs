/** Preloaded into a role: says on stderr when the process has begun to listen for SIGTERM. */
import { writeSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';

const tell = (name) => {
  if (name !== 'SIGTERM') return;
  process.off('newListener', tell);
  // The listener is added after this event; SIGINT's in the same breath.
  queueMicrotask(() => writeSync(2, 'listening\n'));
};
if (isMainThread) process.on('newListener', tell);
