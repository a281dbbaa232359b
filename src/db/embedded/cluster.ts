/**
 * An embedded Postgres in a folder: initialised on first use, started under its guardian on a free port of 127.0.0.1,
 * stopped by `stop` or when this process ends, however it ends.
 */
import { execFile, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chown, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { z } from 'zod';
import { exitCodes, messageOf, PurserError } from '../../errors.ts';
import type { Binaries } from './binaries.ts';
import type { GuardianMessage, GuardianOrder } from './guardian.ts';
import type { Place } from './data-folder.ts';
import { isPostmasterOf, readPostmasterFile, stopPostmaster } from './postmaster.ts';
import { asUser } from './user.ts';

/** The bootstrap superuser. It only creates Purser's login and database. */
export const bootstrapUser = 'purser_bootstrap';

const portAttempts = 5;

const passwordsFile = z.object({ bootstrap: z.string().min(1), login: z.string().min(1) });
export type Passwords = z.infer<typeof passwordsFile>;

/**
 * Reads the cluster's passwords, or generates them if the cluster does not exist yet.
 * @throws PurserError `data_folder_damaged` if the cluster exists and its passwords cannot be read
 */
export async function readPasswords(home: string, place: Place): Promise<Passwords> {
  const path = join(home, 'passwords.json');
  try {
    return passwordsFile.parse(JSON.parse(await readFile(path, 'utf8')));
  } catch (error) {
    if (place.initialised) {
      throw new PurserError(
        'data_folder_damaged',
        `${path} cannot be read (${messageOf(error)}), so no login to the Postgres in ` +
          `${place.clusterDir} is possible. Restore the file, or delete ${home} to start empty.`,
        { cause: error, exitCode: exitCodes.unavailable },
      );
    }
  }
  const generated: Passwords = {
    bootstrap: randomBytes(24).toString('base64url'),
    login: randomBytes(24).toString('base64url'),
  };
  await writeFile(`${path}.draft`, JSON.stringify(generated), { mode: 0o600 });
  await rename(`${path}.draft`, path);
  return generated;
}

/** Creates the cluster under a draft name and renames it when complete, so that a crash leaves no partial cluster. */
export async function initialise(
  place: Place,
  binaries: Binaries,
  password: string,
  durable: boolean,
): Promise<void> {
  const draft = join(place.base, 'initdb-draft');
  const passwordFile = join(place.base, 'initdb-password');
  await rm(draft, { recursive: true, force: true });
  await rm(passwordFile, { force: true });
  try {
    await writeFile(passwordFile, `${password}\n`, { mode: 0o600 });
    if (place.user !== null) await chown(passwordFile, place.user.uid, place.user.gid);
    await promisify(execFile)(
      binaries.initdb,
      [
        `--pgdata=${draft}`,
        `--username=${bootstrapUser}`,
        `--pwfile=${passwordFile}`,
        '--auth=scram-sha-256',
        '--encoding=UTF8',
        // Sort order and case rules do not depend on the locales of the machine.
        '--locale=C',
        '--locale-provider=builtin',
        '--builtin-locale=C.UTF-8',
        ...(durable ? [] : ['--no-sync']),
      ],
      { ...asUser(place.user), env: { PATH: '/usr/local/bin:/usr/bin:/bin', LC_ALL: 'C' } },
    );
    await rename(draft, place.clusterDir);
  } catch (error) {
    throw new PurserError(
      'embedded_postgres_failed',
      `initdb could not make a cluster in ${place.base}: ${messageOf(error)}`,
      { cause: error, exitCode: exitCodes.unavailable },
    );
  } finally {
    await rm(passwordFile, { force: true });
  }
}

export interface RunningCluster {
  readonly port: number;
  /** Fast shutdown; returns when the postmaster has exited. Idempotent. */
  stop(): Promise<void>;
}

export interface LaunchOptions {
  readonly place: Place;
  readonly binaries: Binaries;
  readonly logFile: string;
  readonly settings: Readonly<Record<string, string>>;
  readonly removeAfter: string | null;
  /** Called when the postmaster crashed (the guardian restarts it) or the guardian ended unexpectedly. */
  readonly onTrouble: (what: string) => void;
}

/** @throws PurserError `embedded_postgres_failed` (exit 69) with the last lines of Postgres' log */
export async function launch(options: LaunchOptions): Promise<RunningCluster> {
  for (let attempt = 1; ; attempt += 1) {
    const port = await freePort();
    try {
      return await launchOn(port, options);
    } catch (error) {
      // Another process may bind the port before Postgres does.
      if (attempt < portAttempts && /Address already in use/.test(messageOf(error))) continue;
      throw new PurserError(
        'embedded_postgres_failed',
        `the embedded Postgres in ${options.place.clusterDir} did not start: ${messageOf(error)}`,
        { cause: error, exitCode: exitCodes.unavailable },
      );
    }
  }
}

async function launchOn(port: number, options: LaunchOptions): Promise<RunningCluster> {
  const { place } = options;
  const settings = {
    ...options.settings,
    port: String(port),
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
  };
  const order: GuardianOrder = {
    postgres: options.binaries.postgres,
    args: Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
    clusterDir: place.clusterDir,
    logFile: options.logFile,
    uid: place.user?.uid ?? null,
    gid: place.user?.gid ?? null,
    removeAfter: options.removeAfter,
  };
  const guardian = spawnGuardian(order);
  let stopping = false;
  const gone = new Promise<void>((resolve) => guardian.once('close', () => resolve()));
  await new Promise<void>((resolve, reject) => {
    guardian.once('error', reject);
    guardian.once('close', () => reject(new Error('its guardian process exited during the start')));
    // Always read: the guardian must not block on a full pipe.
    if (guardian.stdout === null) return;
    createInterface({ input: guardian.stdout }).on('line', (line) => {
      const message: GuardianMessage = JSON.parse(line);
      if (message.event === 'ready') resolve();
      if (message.event === 'failed') reject(new Error(message.reason));
      if (message.event === 'crashed') options.onTrouble('postmaster_crashed');
      if (message.event === 'failed') options.onTrouble(`failed: ${message.reason}`);
    });
  });
  // If this process ends without stop(), the guardian's stdin closes and it stops Postgres.
  holdProcess(guardian, false);
  guardian.once('close', () => {
    if (!stopping) options.onTrouble('guardian_ended');
  });
  return {
    port,
    stop: async () => {
      stopping = true;
      holdProcess(guardian, true);
      guardian.stdin?.end();
      await gone;
      // A killed guardian leaves its postmaster running.
      const left = await readPostmasterFile(place.clusterDir);
      if (left !== null && (await isPostmasterOf(left.pid, place.clusterDir))) {
        await stopPostmaster(left.pid);
      }
    },
  };
}

function spawnGuardian(order: GuardianOrder): ChildProcess {
  // From source the module is TypeScript, which Node 20 runs only with tsx (a development package).
  const fromSource = import.meta.url.endsWith('.ts');
  const script = new URL(`./guardian.${fromSource ? 'ts' : 'js'}`, import.meta.url);
  const guardian = spawn(
    process.execPath,
    [
      ...(fromSource
        ? ['--import', pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href]
        : []),
      fileURLToPath(script),
      JSON.stringify(order),
    ],
    // In a session of its own, so that Ctrl-C in the terminal does not reach it.
    { detached: true, stdio: ['pipe', 'pipe', 'inherit'] },
  );
  guardian.stdin?.on('error', () => undefined);
  return guardian;
}

/** Sets whether a running guardian keeps this process alive. */
function holdProcess(guardian: ChildProcess, hold: boolean): void {
  for (const part of [guardian, guardian.stdin, guardian.stdout]) {
    if (hold && part !== null && 'ref' in part && typeof part.ref === 'function') part.ref();
    if (!hold && part !== null && 'unref' in part && typeof part.unref === 'function') part.unref();
  }
}

async function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() =>
        address !== null && typeof address === 'object'
          ? resolve(address.port)
          : reject(new Error('no free port')),
      );
    });
  });
}
