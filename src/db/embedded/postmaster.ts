/**
 * Reads a data folder's `postmaster.pid` and stops the postmaster that it names, only if that process is the
 * postmaster of this folder.
 */
import { execFile } from 'node:child_process';
import { readFile, readlink, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { codeOf } from '../../errors.ts';
import { isAlive } from './owner.ts';

const pollMs = 20;
/** A fast shutdown ends with a checkpoint, which may take long. */
const fastShutdownMs = 20_000;
const immediateShutdownMs = 5_000;

export interface PostmasterFile {
  readonly pid: number;
  readonly ready: boolean;
}

/**
 * The pid and state in the folder's lock file, or `null` without such a file. Its format is Postgres'
 * src/include/utils/pidfile.h: line 1 the pid, line 8 the state.
 */
export async function readPostmasterFile(clusterDir: string): Promise<PostmasterFile | null> {
  try {
    const lines = (await readFile(join(clusterDir, 'postmaster.pid'), 'utf8')).split('\n');
    const pid = Number(lines[0]);
    if (!Number.isSafeInteger(pid) || pid <= 0) return null;
    return { pid, ready: lines[7]?.trim() === 'ready' };
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return null;
    throw error;
  }
}

/** Whether the process is running and is the postmaster of this folder. */
export async function isPostmasterOf(pid: number, clusterDir: string): Promise<boolean> {
  if (!(await isAlive(pid))) return false;
  if (process.platform === 'linux') {
    // The working folder of every Postgres process is its data folder.
    return (await readlink(`/proc/${pid}/cwd`).catch(() => '')) === clusterDir;
  }
  const { stdout } = await promisify(execFile)('ps', ['-o', 'command=', '-p', String(pid)]).catch(
    () => ({ stdout: '' }),
  );
  return stdout.includes(clusterDir);
}

/** Stops a postmaster: fast shutdown, then immediate, then SIGKILL; returns when it has exited. */
export async function stopPostmaster(pid: number): Promise<void> {
  const steps: readonly (readonly [NodeJS.Signals, number])[] = [
    ['SIGINT', fastShutdownMs],
    ['SIGQUIT', immediateShutdownMs],
    ['SIGKILL', immediateShutdownMs],
  ];
  for (const [signal, timeoutMs] of steps) {
    try {
      process.kill(pid, signal);
    } catch {
      return;
    }
    const deadline = Date.now() + timeoutMs;
    while (Date.now() < deadline) {
      if (!(await isAlive(pid))) return;
      await sleep(pollMs);
    }
  }
}

/**
 * Prepares the folder for a new postmaster: stops one that a crash left running, and rewrites a lock file whose pid
 * now belongs to an unrelated process. Called by the process that will start the postmaster.
 */
export async function clearOrphan(clusterDir: string): Promise<'none' | 'stopped' | 'stale'> {
  const path = join(clusterDir, 'postmaster.pid');
  const found = await readPostmasterFile(clusterDir);
  if (found === null) {
    // A crash while writing leaves an empty or truncated lock file, which Postgres refuses.
    await rm(path, { force: true });
    return 'none';
  }
  if (await isPostmasterOf(found.pid, clusterDir)) {
    await stopPostmaster(found.pid);
    return 'stopped';
  }
  if (!(await isAlive(found.pid))) return 'stale';
  // Only the pid is replaced, by that of the future postmaster's parent, which Postgres does not take for another
  // postmaster. The rest stays, so that Postgres still checks for surviving backends by the shared memory key.
  const lines = (await readFile(path, 'utf8')).split('\n');
  await writeFile(path, [String(process.pid), ...lines.slice(1)].join('\n'));
  return 'stale';
}
