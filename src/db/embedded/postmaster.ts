/**
 * What a data folder's `postmaster.pid` says, and how to end the postmaster it names: cleanly if it
 * can be, and only if it really is the postmaster of that folder.
 */
import { execFile } from 'node:child_process';
import { readFile, readlink, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { codeOf } from '../../errors.ts';
import { isAlive } from './owner.ts';

const pollMs = 20;
/** A fast shutdown ends with a checkpoint, which may have much to write. */
const fastShutdownMs = 20_000;
const immediateShutdownMs = 5_000;

export interface PostmasterFile {
  readonly pid: number;
  readonly ready: boolean;
}

/**
 * The pid and state that the folder's lock file names, or `null` without such a file. Its lines are
 * those of Postgres' src/include/utils/pidfile.h: line 1 the pid, line 8 the state.
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

/** Whether the process is alive and is the postmaster of exactly this folder. */
export async function isPostmasterOf(pid: number, clusterDir: string): Promise<boolean> {
  if (!(await isAlive(pid))) return false;
  if (process.platform === 'linux') {
    // Every Postgres process works in its data folder.
    return (await readlink(`/proc/${pid}/cwd`).catch(() => '')) === clusterDir;
  }
  const { stdout } = await promisify(execFile)('ps', ['-o', 'command=', '-p', String(pid)]).catch(
    () => ({ stdout: '' }),
  );
  return stdout.includes(clusterDir);
}

/** Ends a postmaster: fast shutdown, then immediate, then SIGKILL; returns when it is gone. */
export async function stopPostmaster(pid: number): Promise<void> {
  const steps: readonly (readonly [NodeJS.Signals, number])[] = [
    ['SIGINT', fastShutdownMs],
    ['SIGQUIT', immediateShutdownMs],
    ['SIGKILL', immediateShutdownMs],
  ];
  for (const [signal, patienceMs] of steps) {
    try {
      process.kill(pid, signal);
    } catch {
      return;
    }
    const deadline = Date.now() + patienceMs;
    while (Date.now() < deadline) {
      if (!(await isAlive(pid))) return;
      await sleep(pollMs);
    }
  }
}

/**
 * Makes the folder free for a new postmaster: stops one that a crash left running, and disarms a
 * lock file whose pid now belongs to a stranger. For the process that will start the postmaster.
 */
export async function clearOrphan(clusterDir: string): Promise<'none' | 'stopped' | 'stale'> {
  const path = join(clusterDir, 'postmaster.pid');
  const found = await readPostmasterFile(clusterDir);
  if (found === null) {
    // An empty or torn lock file is what a crash while writing it leaves; Postgres refuses it.
    await rm(path, { force: true });
    return 'none';
  }
  if (await isPostmasterOf(found.pid, clusterDir)) {
    await stopPostmaster(found.pid);
    return 'stopped';
  }
  if (!(await isAlive(found.pid))) return 'stale';
  // The file is kept and only its pid replaced, by that of the future postmaster's parent, which
  // Postgres knows to be no rival: so its own check for surviving backends, by the shared memory key
  // further down the file, still takes place.
  const lines = (await readFile(path, 'utf8')).split('\n');
  await writeFile(path, [String(process.pid), ...lines.slice(1)].join('\n'));
  return 'stale';
}
