/**
 * Loaded into a role before its own code (node --import): blocks the process right after it has logged the beginning of
 * a start-up step, until the test has written a file. So a fault begins exactly with a step. HOLD_STEP is the name of
 * the step, or `*`; HOLD_FOLDER the folder of the files, which are named after the steps.
 */
import fs from 'node:fs';
import { isMainThread } from 'node:worker_threads';

const { HOLD_STEP: held = '', HOLD_FOLDER: folder = '' } = process.env;
const cell = new Int32Array(new SharedArrayBuffer(4));

if (isMainThread && held !== '') {
  const { writeSync } = fs;
  fs.writeSync = (fd, text, ...rest) => {
    const written = writeSync(fd, text, ...rest);
    const line = typeof text === 'string' ? text : '';
    const step = /"step":"(\w+)".*"event":"startup_step"/.exec(line)?.[1];
    if (step !== undefined && (held === '*' || held === step))
      while (!fs.existsSync(`${folder}/${step}`)) Atomics.wait(cell, 0, 0, 10);
    return written;
  };
}
