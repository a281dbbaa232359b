/** CPU time of processes, from /proc (Linux). */
import { readdirSync, readFileSync } from 'node:fs';

const tickMs = 10;

/** Fields of /proc/PID/stat behind the name, which may hold anything. */
function statOf(pid: number): readonly string[] {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return text.slice(text.lastIndexOf(')') + 2).split(' ');
  } catch {
    return [];
  }
}

const field = (stat: readonly string[], index: number): number => Number(stat[index] ?? 0) * tickMs;

/** User and system time of a process, all its threads included, in ms. */
export function cpuMs(pid: number): number {
  const stat = statOf(pid);
  return field(stat, 11) + field(stat, 12);
}

/** The same for a server with a process per connection, ended ones included. */
export function treeCpuMs(pid: number): number {
  const own = statOf(pid);
  const children = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && statOf(Number(name))[1] === String(pid))
    .map((name) => cpuMs(Number(name)));
  const ended = field(own, 13) + field(own, 14);
  return cpuMs(pid) + ended + children.reduce((sum, ms) => sum + ms, 0);
}

export interface CpuReader {
  readonly [name: string]: () => number;
}

/** CPU microseconds per job of each part, from `before` to now. */
export function cpuPerJob(
  readers: CpuReader,
  before: Readonly<Record<string, number>>,
  jobs: number,
): Record<string, number> {
  return Object.fromEntries(
    Object.entries(readers).map(([name, read]) => [
      name,
      Math.round(((read() - (before[name] ?? 0)) * 1000) / jobs),
    ]),
  );
}

export function readCpu(readers: CpuReader): Record<string, number> {
  return Object.fromEntries(Object.entries(readers).map(([name, read]) => [name, read()]));
}
