/**
 * Limits memory as a platform does: the process of a worker, or of a job that runs alone, is killed when it grows
 * beyond the limit (Linux).
 */
import { readdirSync, readFileSync } from 'node:fs';
import type { KeptProcess } from './respawner.ts';

const pollMs = 50;
const pageBytes = 4_096;

export interface MemoryLimit {
  /** Number of processes that were killed. */
  killed(): number;
  stop(): void;
}

/** A number from a process's files in /proc; 0 when the process has ended. */
function readNumber(read: () => string): number {
  try {
    return Number(read());
  } catch {
    return 0;
  }
}

const parentOf = (pid: number): number =>
  // The name of the program, in parentheses, may contain any character.
  readNumber(
    () => readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ')[1] ?? '',
  );

const residentBytes = (pid: number): number =>
  pageBytes * readNumber(() => readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')[1] ?? '');

export function watchMemory(worker: KeptProcess, limitMb: number): MemoryLimit {
  let killed = 0;
  const timer = setInterval(() => {
    const { pid } = worker.current();
    const children = readdirSync('/proc')
      .map(Number)
      .filter((candidate) => candidate > 0 && parentOf(candidate) === pid);
    for (const child of [...children, pid]) {
      if (residentBytes(child) < limitMb * 1024 * 1024) continue;
      killed += 1;
      try {
        process.kill(child, 'SIGKILL');
      } catch {
        // It has already ended.
      }
    }
  }, pollMs);
  return { killed: () => killed, stop: () => clearInterval(timer) };
}
