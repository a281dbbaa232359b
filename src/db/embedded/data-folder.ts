/**
 * Decides where the files of a private cluster are: in the data folder, or, if the user that runs Postgres cannot
 * reach it (a 0700 parent such as /root), in another folder. The file `location` in the data folder names that folder.
 */
import { createHash, randomBytes } from 'node:crypto';
import { chmod, chown, mkdir, readFile, rename, rmdir, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { codeOf, exitCodes, PurserError } from '../../errors.ts';
import { ensurePrivateRoot } from './binaries.ts';
import { canWrite, chooseRunUser } from './user.ts';
import type { RunUser } from './user.ts';

export interface Place {
  readonly user: RunUser | null;
  /** Writable for the user; contains `data` and, during initdb, its drafts. */
  readonly base: string;
  readonly clusterDir: string;
  readonly initialised: boolean;
  readonly relocated: boolean;
}

/**
 * Folders for relocated files, in order of preference. Durable data goes to /var/lib or /var/tmp, which are not
 * cleaned as the temporary folder is; other data prefers the temporary folder.
 */
export function defaultRoots(durable: boolean): string[] {
  const lasting = ['/var/lib/purser', '/var/tmp/purser-postgres'];
  const temporary = join(tmpdir(), 'purser-postgres');
  return durable ? [...lasting, temporary] : [temporary, ...lasting];
}

/**
 * @param home the folder of this Postgres inside the data folder; must exist and belong to this user
 * @throws PurserError `data_folder_lost` if the data was relocated and the folder is missing,
 *   `data_folder_unreachable` if no folder can be used (both exit 69)
 */
export async function findPlace(home: string, roots: readonly string[]): Promise<Place> {
  const pointer = join(home, 'location');
  const pointed = await readFile(pointer, 'utf8').catch((error: unknown) => {
    if (codeOf(error) === 'ENOENT') return null;
    throw error;
  });
  if (pointed !== null) return relocatedPlace(pointer, pointed.trim());

  const user = await chooseRunUser(join(home, 'base', 'data'));
  const inside = join(home, 'base');
  const exists = await isInitialised(join(inside, 'data'));
  await ensureBase(inside, user);
  if (await canWrite(user, inside)) return place(user, inside, exists, false);
  if (!exists) {
    for (const root of roots) {
      // The random part makes a data folder that was deleted and created again start empty.
      const name = `${createHash('sha256').update(home).digest('hex').slice(0, 12)}-${randomBytes(4).toString('hex')}`;
      const base = join(root, name);
      try {
        await ensurePrivateRoot(root);
        await ensureBase(base, user);
      } catch {
        continue;
      }
      if (!(await canWrite(user, base))) continue;
      await writeFile(`${pointer}.draft`, `${base}\n`, { mode: 0o600 });
      await rename(`${pointer}.draft`, pointer);
      await rmdir(inside);
      return place(user, base, false, true);
    }
  }
  throw new PurserError(
    'data_folder_unreachable',
    `Postgres runs as ${user?.name ?? 'this user'}, which cannot reach ${inside}` +
      `${exists ? '' : ` nor a folder under ${roots.join(', ')}`}. ` +
      'Set PURSER_DATA_DIR to a folder whose parents every user can traverse, or set DATABASE_URL.',
    { exitCode: exitCodes.unavailable, details: { folder: inside } },
  );
}

async function relocatedPlace(pointer: string, base: string): Promise<Place> {
  const user = await chooseRunUser(join(base, 'data'));
  if (!(await canWrite(user, base))) {
    throw new PurserError(
      'data_folder_lost',
      `${pointer} says that this Postgres keeps its data in ${base}, which is missing or unreachable. ` +
        `Restore that folder, or delete ${pointer} to start with an empty database.`,
      { exitCode: exitCodes.unavailable, details: { folder: base } },
    );
  }
  return place(user, base, await isInitialised(join(base, 'data')), true);
}

async function place(
  user: RunUser | null,
  base: string,
  initialised: boolean,
  relocated: boolean,
): Promise<Place> {
  return { user, base, clusterDir: join(base, 'data'), initialised, relocated };
}

async function ensureBase(base: string, user: RunUser | null): Promise<void> {
  await mkdir(base, { recursive: true, mode: 0o700 });
  await chmod(base, 0o700);
  if (user !== null) await chown(base, user.uid, user.gid);
}

/** initdb uses a draft name until the cluster is complete, so an existing cluster is never partial. */
async function isInitialised(clusterDir: string): Promise<boolean> {
  return stat(join(clusterDir, 'PG_VERSION')).then(
    () => true,
    () => false,
  );
}
