/**
 * The process between Purser and its embedded Postgres: it starts the postmaster, restarts it after a crash, and shuts
 * it down cleanly when its standard input closes. That happens when the parent closes it and when the parent dies,
 * also by `kill -9`.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { closeSync, fstatSync, openSync } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../../errors.ts';
import { clearOrphan, readPostmasterFile, stopPostmaster } from './postmaster.ts';

/** What the parent passes as the only argument, as JSON. */
export interface GuardianOrder {
  readonly postgres: string;
  readonly args: readonly string[];
  readonly clusterDir: string;
  readonly logFile: string;
  readonly uid: number | null;
  readonly gid: number | null;
  /** A folder to delete after the shutdown, for temporary clusters. */
  readonly removeAfter: string | null;
}

/** One line of JSON each on the guardian's standard output. */
export type GuardianMessage =
  | { readonly event: 'ready'; readonly pid: number }
  | { readonly event: 'failed'; readonly reason: string }
  | { readonly event: 'crashed' };

const pollMs = 20;
const startMs = 300_000;
/** After a cluster was killed, its backends need a moment to end and the kernel to free the port. */
const retryMs = 30_000;
const transient = /pre-existing shared memory block|lock file .* (already exists|is empty)/;
const crashesAllowed = 5;
/** After this uptime the count of consecutive crashes starts again. */
const stableMs = 60_000;

const state: { stopping: boolean; postmaster: ChildProcess | null } = {
  stopping: false,
  postmaster: null,
};

function report(message: GuardianMessage): void {
  process.stdout.write(`${JSON.stringify(message)}\n`);
}

/** Starts a postmaster and returns when it accepts connections; throws with its last log lines. */
async function start(order: GuardianOrder): Promise<ChildProcess> {
  const log = openSync(order.logFile, 'a', 0o600);
  const logStart = fstatSync(log).size;
  const child = spawn(order.postgres, ['-D', order.clusterDir, ...order.args], {
    cwd: '/',
    env: { PATH: '/usr/local/bin:/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' },
    stdio: ['ignore', log, log],
    ...(order.uid === null ? {} : { uid: order.uid }),
    ...(order.gid === null ? {} : { gid: order.gid }),
  });
  closeSync(log);
  state.postmaster = child;
  let spawnError: Error | null = null;
  child.once('error', (error) => (spawnError = error));
  const deadline = Date.now() + startMs;
  for (;;) {
    if (hasEnded(child) || spawnError !== null) break;
    const file = await readPostmasterFile(order.clusterDir);
    if (file?.pid === child.pid && file?.ready === true) return child;
    if (Date.now() > deadline) break;
    await sleep(pollMs);
  }
  if (spawnError !== null) throw spawnError as Error;
  const written = (await readFile(order.logFile)).subarray(logStart).toString('utf8');
  if (!hasEnded(child) && child.pid !== undefined) await stopPostmaster(child.pid);
  throw new Error(written.trim().split('\n').slice(-8).join('\n'));
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

async function startWithRetries(order: GuardianOrder): Promise<ChildProcess> {
  const deadline = Date.now() + retryMs;
  for (;;) {
    await clearOrphan(order.clusterDir);
    try {
      return await start(order);
    } catch (error) {
      if (state.stopping || !transient.test(messageOf(error)) || Date.now() > deadline) throw error;
      await sleep(10 * pollMs);
    }
  }
}

async function ended(child: ChildProcess): Promise<void> {
  if (hasEnded(child)) return;
  await new Promise((resolve) => child.once('exit', resolve));
}

/** Runs a postmaster until `stop`, or until it has crashed too often. */
async function guard(order: GuardianOrder): Promise<void> {
  for (let crashes = 0; !state.stopping; crashes += 1) {
    if (crashes > crashesAllowed) throw new Error(`Postgres crashed ${crashes} times in a row`);
    const child = await startWithRetries(order);
    const readyAt = Date.now();
    // `stop` may have been called during the start.
    if (state.stopping && child.pid !== undefined) await stopPostmaster(child.pid);
    report({ event: 'ready', pid: child.pid ?? 0 });
    await ended(child);
    if (!state.stopping) report({ event: 'crashed' });
    if (Date.now() - readyAt > stableMs) crashes = 0;
  }
}

function stop(): void {
  if (state.stopping) return;
  state.stopping = true;
  if (state.postmaster?.pid !== undefined && !hasEnded(state.postmaster))
    void stopPostmaster(state.postmaster.pid);
}

// A signal to the whole process group is meant for the application, which needs its database until it has closed.
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
  process.on(signal, () => undefined);
}
// The parent may be gone.
process.stdout.on('error', () => undefined);
process.stdin.on('error', stop).on('end', stop).on('close', stop).resume();

const order: GuardianOrder = JSON.parse(process.argv[2] ?? '{}');
try {
  await guard(order);
} catch (error) {
  if (!state.stopping) {
    report({ event: 'failed', reason: messageOf(error) });
    process.exitCode = 1;
  }
} finally {
  // Not after a failure: the parent may retry with the same files.
  if (state.stopping && order.removeAfter !== null)
    await rm(order.removeAfter, { recursive: true, force: true });
  process.stdin.destroy();
}
