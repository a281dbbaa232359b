/** A pool of the built executors, with handlers from a module that the test writes. */
import { AbortSource } from '../../../src/worker/executors/abort-source.ts';
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from '../../../src/db/connect.ts';
import type { Sql } from '../../../src/db/connect.ts';
import type { AttemptEnd, BegunAttempt } from '../../../src/jobs/attempts.ts';
import { createLlm } from '../../../src/llm/create-llm.ts';
import { createLogger } from '../../../src/log.ts';
import { createMetrics } from '../../../src/metrics.ts';
import { Executors } from '../../../src/worker/executors/executors.ts';
import type { ExecutorsOptions } from '../../../src/worker/executors/executors-options.ts';
import type { SpawnExecutor } from '../../../src/worker/executors/spawn.ts';
import { silentLog } from '../../support/llm-attempt.ts';

// The built files: a thread cannot run TypeScript here.
export const { spawnThread, spawnProcess }: Record<'spawnThread' | 'spawnProcess', SpawnExecutor> =
  await import(join(import.meta.dirname, '../../../dist/worker/executors/spawn.js'));

export const nowhere = 'postgres://nobody@127.0.0.1:1/none';

/** One built thread without a database, a log or an LLM provider. */
export const builtOptions = (handlersModule: string, sql: Sql): ExecutorsOptions => ({
  setup: {
    handlersModule,
    tenantAccess: {
      url: nowhere,
      tlsVerify: undefined,
      pooled: false,
      serverVersion: 15,
      switchRole: false,
      checksConnection: false,
    },
    logLevel: 'silent',
    heapMb: 64,
    graceMs: 300,
    silenceMs: 10_000,
  },
  applicationName: 'purser test',
  threads: 1,
  maxWaitingSuspects: 3,
  llm: createLlm({ provider: { kind: 'offline' }, budgetSql: sql }),
  log: silentLog,
  metrics: createMetrics(),
  spawn: { thread: spawnThread, process: spawnProcess },
  endSessions: () => Promise.resolve(),
});

export interface BuiltPool {
  readonly executors: Executors;
  /** Events of its log. */
  readonly events: () => string[];
  readonly lines: () => Record<string, unknown>[];
  run(jobType: string, more?: Partial<BegunAttempt>, controller?: AbortSource): Promise<AttemptEnd>;
  close(): Promise<void>;
}

/** `handlers` is the text of a module that exports them. */
export async function openPool(
  handlers: string,
  overrides: Partial<ExecutorsOptions> = {},
): Promise<BuiltPool> {
  const folder = await mkdtemp(join(tmpdir(), 'purser-executors-'));
  await writeFile(join(folder, 'handlers.mjs'), handlers);
  const sql = connect(nowhere, { max: 1, applicationName: 'none' });
  const lines: string[] = [];
  const executors = await Executors.open({
    ...builtOptions(join(folder, 'handlers.mjs'), sql),
    log: createLogger({
      level: 'debug',
      role: 'test',
      destination: { write: (line) => void lines.push(line) },
    }),
    ...overrides,
  });
  let lastJobId = 0;
  return {
    executors,
    events: () => lines.map((line) => String((JSON.parse(line) as { event: unknown }).event)),
    lines: () => lines.map((line) => JSON.parse(line) as Record<string, unknown>),
    run: (jobType, more = {}, controller = new AbortSource()) => {
      lastJobId += 1;
      return runOne(executors, { ...attemptOf(jobType, String(lastJobId)), ...more }, controller);
    },
    close: async () => {
      await executors.close();
      await sql.end();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Runs an attempt by itself. */
export const runOne = (
  executors: Executors,
  attempt: BegunAttempt,
  abort = new AbortSource(),
): Promise<AttemptEnd> =>
  new Promise((resolve, reject) => {
    executors.run(attempt, abort, (outcome) => {
      if (outcome === undefined) reject(new Error('it was not started'));
      else resolve(outcome.end);
    });
  });

export const attemptOf = (jobType: string, jobId = '1'): BegunAttempt => ({
  jobId,
  tenantId: 'acme',
  jobType,
  payload: '{}',
  attempt: 1,
  maxAttempts: 3,
  token: randomUUID(),
  isolated: false,
  isolatedCrashes: 0,
});
