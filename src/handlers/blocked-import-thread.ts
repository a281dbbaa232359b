/**
 * The thread of blocked-import.ts. A thread cannot give the process an exit code, and the main thread does not return
 * to its event loop: a debugger session interrupts it where it is, and lets it exit.
 */
import { writeSync } from 'node:fs';
import { Session } from 'node:inspector';
import { workerData } from 'node:worker_threads';
import type { WatchedImport } from './blocked-import.ts';

// Set by watchImport.
// oxlint-disable-next-line typescript/no-unsafe-type-assertion
const { message, exitCode, withinMs } = workerData as WatchedImport;

/** The main thread may be blocked outside JavaScript (execSync), where a debugger cannot stop it. */
const interruptWithinMs = 2_000;

function end(): void {
  writeSync(2, `purser: ${message}\n`);
  setTimeout(() => process.kill(process.pid, 'SIGKILL'), interruptWithinMs);
  const session = new Session();
  session.connectToMainThread();
  session.on('Debugger.paused', ({ params }) => {
    const [frame] = params.callFrames;
    if (frame === undefined) return;
    session.post('Debugger.evaluateOnCallFrame', {
      callFrameId: frame.callFrameId,
      // stderr is closed because Node would write there that it waits for the debugger.
      expression: `process.getBuiltinModule('node:fs').closeSync(2); process.reallyExit(${exitCode})`,
    });
  });
  session.post('Debugger.enable', () => session.post('Debugger.pause'));
}

setTimeout(end, withinMs);
