/**
 * What a platform does about memory, so that no culprit takes the machine's: the process of a worker, or of a
 * job that it runs alone, that grows beyond the limit is killed (Linux).
 */
import { readdirSync, readFileSync } from 'node:fs';
import type { KeptProcess } from './respawner.ts';

const lookEveryMs = 50;
const pageBytes = 4_096;

export interface Warden {
  /** How many processes it has killed. */
  killed(): number;
  stop(): void;
}

/** A number out of a process's files; 0 when it is gone. */
function look(read: () => string): number {
  try {
    return Number(read());
  } catch {
    return 0;
  }
}

const parentOf = (pid: number): number =>
  // The name of the program, in parentheses, may hold anything.
  look(() => readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ')[1] ?? '');

const residentBytes = (pid: number): number =>
  pageBytes * look(() => readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')[1] ?? '');

export function watchMemory(worker: KeptProcess, limitMb: number): Warden {
  let killed = 0;
  const timer = setInterval(() => {
    const { pid } = worker.current();
    const children = readdirSync('/proc')
      .map(Number)
      .filter((candidate) => candidate > 0 && parentOf(candidate) === pid);
    for (const each of [...children, pid]) {
      if (residentBytes(each) < limitMb * 1024 * 1024) continue;
      killed += 1;
      try {
        process.kill(each, 'SIGKILL');
      } catch {
        // It has ended by itself.
      }
    }
  }, lookEveryMs);
  return { killed: () => killed, stop: () => clearInterval(timer) };
}
