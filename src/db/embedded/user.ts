/**
 * Postgres refuses to run as root. This module chooses the user to run it as, and tests whether that user can reach a
 * folder, by running a command as that user instead of reading permission bits.
 */
import { execFile } from 'node:child_process';
import { readFile, stat } from 'node:fs/promises';
import { promisify } from 'node:util';
import { exitCodes, PurserError } from '../../errors.ts';

const run = promisify(execFile);

/** `null` when Purser is not root, and Postgres runs as the same user. */
export interface RunUser {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

/** Options of `spawn` and `execFile` to run a command as that user. */
export function asUser(user: RunUser | null): { uid?: number; gid?: number; cwd: string } {
  return user === null ? { cwd: '/' } : { uid: user.uid, gid: user.gid, cwd: '/' };
}

/**
 * The user to run Postgres as: `null` (the current user) unless that is root; then the owner of an existing cluster,
 * else the account `postgres`, else `nobody` (initdb needs an account with a name).
 * @throws PurserError `no_unprivileged_user` as root on a machine without such an account.
 */
export async function chooseRunUser(clusterDir: string): Promise<RunUser | null> {
  if (process.getuid?.() !== 0) return null;
  const accounts = await readAccounts();
  const owner = await stat(clusterDir).then(
    (facts) => facts.uid,
    () => 0,
  );
  const chosen =
    (owner === 0 ? undefined : accounts.find((account) => account.uid === owner)) ??
    accounts.find((account) => account.name === 'postgres') ??
    accounts.find((account) => account.name === 'nobody');
  if (chosen === undefined) {
    throw new PurserError(
      'no_unprivileged_user',
      'Postgres does not run as root and this machine has no account postgres or nobody. ' +
        'Run Purser as an ordinary user, or set DATABASE_URL.',
      { exitCode: exitCodes.unavailable },
    );
  }
  return chosen;
}

async function readAccounts(): Promise<RunUser[]> {
  const passwd = await readFile('/etc/passwd', 'utf8').catch(() => '');
  return passwd.split('\n').flatMap((line) => {
    const [name, , uid, gid] = line.split(':');
    if (name === undefined || uid === undefined || gid === undefined || Number(uid) === 0)
      return [];
    return [{ name, uid: Number(uid), gid: Number(gid) }];
  });
}

/** Whether the user can enter and write the folder. */
export async function canWrite(user: RunUser | null, folder: string): Promise<boolean> {
  return succeeds('cd "$1" && test -w .', folder, user);
}

/** Whether the user can run the Postgres of this `native` folder and read its files. */
export async function canRun(user: RunUser | null, nativeDir: string): Promise<boolean> {
  const script =
    'test -r "$1/share/postgresql/postgres.bki" && test -x "$1/bin/initdb" && "$1/bin/postgres" --version';
  return succeeds(script, nativeDir, user);
}

async function succeeds(script: string, folder: string, user: RunUser | null): Promise<boolean> {
  try {
    await run('/bin/sh', ['-c', script, 'sh', folder], asUser(user));
    return true;
  } catch {
    return false;
  }
}
