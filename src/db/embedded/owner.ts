/**
 * One process at a time owns an embedded Postgres folder; a second one is refused with the owner's pid. Ownership ends
 * with its process, however it ends: a record counts only while the process that wrote it runs (same pid and start
 * time), so a reused pid never keeps a folder locked.
 */
import { execFile } from 'node:child_process';
import { link, readdir, readFile, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { codeOf, exitCodes, PurserError } from '../../errors.ts';

interface OwnerRecord {
  readonly pid: number;
  readonly processStart: string;
  readonly released: boolean;
}

const recordName = /^owner\.(\d+)\.json$/;

/** Whether a process with this pid exists and is not a zombie. */
export async function isAlive(pid: number): Promise<boolean> {
  return (await processStart(pid)) !== null;
}

/**
 * A text that distinguishes two processes that had the same pid one after the other, or `null` if no such process
 * exists. Linux: boot id and start tick of /proc; elsewhere the start time that `ps` prints.
 */
async function processStart(pid: number): Promise<string | null> {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (codeOf(error) !== 'EPERM') return null;
  }
  if (process.platform === 'linux') {
    try {
      const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      // Field 3 is the state, field 22 the start in clock ticks since boot (proc(5)).
      if (fields[0] === 'Z' || fields[0] === 'X') return null;
      const boot = await readFile('/proc/sys/kernel/random/boot_id', 'utf8');
      return `${boot.trim()}/${fields[19]}`;
    } catch (error) {
      return codeOf(error) === 'ENOENT' || codeOf(error) === 'ESRCH' ? null : 'unknown';
    }
  }
  try {
    const { stdout } = await promisify(execFile)('ps', ['-o', 'lstart=', '-p', String(pid)]);
    return stdout.trim() === '' ? null : stdout.trim();
  } catch {
    return null;
  }
}

export interface Ownership {
  /** Ends the ownership. Idempotent. */
  release(): Promise<void>;
}

/**
 * Makes this process the owner of `folder`, which exists.
 * @throws PurserError `data_folder_in_use` (exit 69) naming the folder and the pid of its owner.
 *
 * Records are numbered and created exclusively: the process that creates number n+1, after it found the owner of n
 * gone, is the owner. The newest record is never deleted, so no number is used twice.
 */
export async function takeOwnership(folder: string): Promise<Ownership> {
  for (;;) {
    const newest = await newestRecord(folder);
    const holder = newest === 0 ? null : await readRecord(recordPath(folder, newest));
    if (holder !== null && !holder.released) {
      const start = await processStart(holder.pid);
      if (start !== null && (start === holder.processStart || start === 'unknown')) {
        throw inUse(folder, holder.pid);
      }
    }
    const mine = newest + 1;
    const record: OwnerRecord = {
      pid: process.pid,
      processStart: (await processStart(process.pid)) ?? 'unknown',
      released: false,
    };
    if (!(await publish(folder, mine, record))) continue;
    if ((await newestRecord(folder)) !== mine) {
      await unlink(recordPath(folder, mine)).catch(() => undefined);
      continue;
    }
    await removeOlder(folder, mine);
    return {
      release: () =>
        writeFile(recordPath(folder, mine), JSON.stringify({ ...record, released: true })),
    };
  }
}

function inUse(folder: string, pid: number): PurserError {
  return new PurserError(
    'data_folder_in_use',
    `the embedded Postgres in ${folder} is in use by process ${pid}. ` +
      'Stop that process, or choose another folder with PURSER_DATA_DIR, ' +
      'or set DATABASE_URL so that several processes can share one Postgres.',
    { details: { folder, pid }, exitCode: exitCodes.unavailable },
  );
}

function recordPath(folder: string, number: number): string {
  return join(folder, `owner.${number}.json`);
}

async function recordNumbers(folder: string): Promise<number[]> {
  const names = await readdir(folder);
  return names.flatMap((name) => {
    const match = recordName.exec(name);
    return match === null ? [] : [Number(match[1])];
  });
}

async function newestRecord(folder: string): Promise<number> {
  return Math.max(0, ...(await recordNumbers(folder)));
}

async function readRecord(path: string): Promise<OwnerRecord | null> {
  try {
    // Records are published complete. A process may have died while it rewrote `released`; then the record does
    // not parse and counts as released.
    const parsed: unknown = JSON.parse(await readFile(path, 'utf8'));
    return isOwnerRecord(parsed) ? parsed : null;
  } catch {
    return null;
  }
}

function isOwnerRecord(value: unknown): value is OwnerRecord {
  return (
    typeof value === 'object' &&
    value !== null &&
    'pid' in value &&
    typeof value.pid === 'number' &&
    'processStart' in value &&
    typeof value.processStart === 'string' &&
    'released' in value &&
    typeof value.released === 'boolean'
  );
}

/** Creates the record with its content atomically; false if its number exists. */
async function publish(folder: string, number: number, record: OwnerRecord): Promise<boolean> {
  const draft = join(folder, `owner-draft.${process.pid}.${number}`);
  await writeFile(draft, JSON.stringify(record), { mode: 0o600 });
  try {
    await link(draft, recordPath(folder, number));
    return true;
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false;
    throw error;
  } finally {
    await unlink(draft).catch(() => undefined);
  }
}

async function removeOlder(folder: string, newest: number): Promise<void> {
  for (const number of await recordNumbers(folder)) {
    if (number < newest) await unlink(recordPath(folder, number)).catch(() => undefined);
  }
}
