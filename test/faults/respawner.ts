/**
 * A worker process that is restarted whenever it ends, as a platform does, and how each process ended.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { startCli } from '../support/process.ts';
import type { CliProcess } from '../support/process.ts';

export interface Life {
  readonly pid: number;
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** The last lines that it wrote to stderr. */
  readonly lastWords: string;
}

export interface KeptProcess {
  /** The current process; between two of them, the last one. */
  current(): CliProcess;
  /** Processes that ended, oldest first. */
  readonly ended: readonly Life[];
  /** Sends SIGKILL to the current process; a new one starts. Returns its pid. */
  kill(): Promise<number>;
  /** Waits until a process runs that started after those that have ended by now. */
  untilRunning(): Promise<void>;
  /** Sends SIGTERM and starts no further process. Returns how it ended. */
  stop(): Promise<Life>;
}

/** Pause of a platform before it restarts a process that ended during its start. */
const pauseMs = 500;
const keptWords = 3_000;

export async function keepProcess(
  role: 'worker' | 'scheduler',
  env: Readonly<Record<string, string | undefined>>,
): Promise<KeptProcess> {
  const ended: Life[] = [];
  let stopping = false;
  let current = begin();

  function begin(): { process: CliProcess; runs: Promise<boolean> } {
    const process = startCli(['start', role], { env });
    const runs = process
      .waitForLine(new RegExp(`^purser ${role} is running`), { timeoutMs: 60_000 })
      .then(
        () => true,
        () => false,
      );
    return { process, runs };
  }

  const living = (async () => {
    for (;;) {
      const { process } = current;
      const { code, signal, stderr } = await process.waitForExit({ timeoutMs: 3_600_000 });
      ended.push({ pid: process.pid, code, signal, lastWords: stderr.slice(-keptWords) });
      if (stopping) return;
      if (!(await current.runs)) await sleep(pauseMs);
      if (stopping) return;
      current = begin();
    }
  })();

  const untilRunning = async (): Promise<void> => {
    for (;;) {
      const { process, runs } = current;
      if ((await runs) && !ended.some(({ pid }) => pid === process.pid)) return;
      await sleep(20);
    }
  };
  await untilRunning();
  return {
    current: () => current.process,
    ended,
    kill: async () => {
      const { process } = current;
      await process.kill();
      // Its output ends a moment later; until then untilRunning() would take it for the next one.
      while (!ended.some(({ pid }) => pid === process.pid)) await sleep(5);
      return process.pid;
    },
    untilRunning,
    stop: async () => {
      stopping = true;
      // Node ignores signals while it starts; stopping a start is not tested here.
      await current.runs;
      current.process.signal('SIGTERM');
      await living;
      const last = ended.at(-1);
      if (last === undefined) throw new Error(`${role} has not ended`);
      return last;
    },
  };
}
