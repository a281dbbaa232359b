/**
 * The context of one attempt, made where its handler runs: its tenant's rows through a pool of this thread,
 * the LLM gateway through the supervisor.
 */
import type { Tx } from '../../../db/connect.ts';
import type { BeginOptions, TenantPool, TenantSql } from '../../../db/tenant.ts';
import { openTransaction } from '../../../db/guard/nesting.ts';
import { tenantSql } from '../../../db/tenant.ts';
import { PurserError } from '../../../errors.ts';
import type { Handler, JobContext } from '../../../handlers/define.ts';
import { toResult } from '../../../handlers/outcome.ts';
import type { BegunAttempt } from '../../../jobs/attempts.ts';
import { enqueueChild } from '../../../jobs/enqueue.ts';
import {
  asStoredPayload,
  checkOptions,
  checkRequest,
  childOptions,
} from '../../../jobs/request.ts';
import type { Llm } from '../../../llm/llm.ts';
import type { Logger } from '../../../log.ts';
import type { AbortSource } from '../abort-source.ts';
import type { AttemptLog } from './attempt-log.ts';
import type { OpenCalls } from './open-calls.ts';
import { storableResult } from '../../store-value.ts';

export interface ContextParts {
  readonly attempt: BegunAttempt;
  readonly handler: Pick<Handler, 'timeoutMs'>;
  readonly tenant: TenantPool;
  readonly llm: Llm;
  readonly abort: AbortSource;
  readonly reports: AttemptLog;
  readonly calls: OpenCalls;
  readonly openLog: () => Logger;
  /** Removes the attempt's secrets from a stored result. */
  readonly redactResult: (stored: unknown) => unknown;
  /** Throws when a child job would store a secret of the attempt in plain text. */
  readonly refuseSecrets: (jobType: string, payload: object, dedupKey: string | undefined) => void;
  /** Encrypts what the child's type marks as secret. */
  readonly seal: (sql: TenantSql | Tx, jobType: string, payload: object) => Promise<object>;
}

/** Callers in plain JavaScript have no type check. */
function readOptions<T extends object>(method: string, options: T): T {
  const given: unknown = options;
  try {
    if (given !== null && typeof given === 'object') return { ...options };
  } catch {
    // A getter or a proxy of the handler threw.
  }
  throw new PurserError(
    'invalid_argument',
    `${method}: its options must be an object of plain values`,
    {
      details: { class: 'fatal' },
    },
  );
}

export function makeContext(parts: ContextParts, payload: unknown): JobContext<unknown> {
  const { attempt, handler, abort, reports, calls, llm } = parts;
  const { jobId, tenantId, token } = attempt;
  const sql = tenantSql(parts.tenant, {
    token,
    signal: abort,
    deadlineMs: Date.now() + handler.timeoutMs,
    storable: (result) => parts.redactResult(storableResult(toResult(result))),
    onRefused: ({ code, role: databaseRole, queryTag }) => {
      reports.refused();
      context.log.warn({ code, databaseRole, queryTag }, 'rls_enforcement_failed');
    },
  });
  let log: Logger | undefined;
  const context: JobContext<unknown> = {
    jobId,
    tenantId,
    payload,
    attempt: attempt.attempt,
    token,
    get signal() {
      return abort.signal;
    },
    sql: trackedSql(sql, calls),
    llm: {
      generate: (request) => calls.track('ctx.llm.generate', () => llm.generate(request)),
    },
    enqueue: (jobType, childPayload = {}, options = {}) =>
      calls.track('ctx.enqueue', async () => {
        const child = readOptions('ctx.enqueue', options);
        checkOptions('ctx.enqueue', child, childOptions);
        // Inside sql.begin() the child commits with that transaction, on its session.
        const connection = openTransaction(token) ?? sql;
        const plain = asStoredPayload(childPayload);
        checkRequest({ jobType, ...child });
        const payload = await parts.seal(connection, jobType, plain);
        parts.refuseSecrets(jobType, payload, child.dedupKey);
        return enqueueChild(connection, { jobType, payload, ...child });
      }),
    progress: (done, note) => reports.progress(done, note),
    get log() {
      log ??= parts.openLog();
      return log;
    },
  };
  return context;
}

type Query = Parameters<TenantSql>;
type Text = Parameters<TenantSql['unsafe']>;

function trackedSql(sql: TenantSql, calls: OpenCalls): TenantSql {
  const query = <R extends object>(...args: Query): Promise<R[]> =>
    calls.track('ctx.sql', () => sql<R>(...args));
  return Object.assign(query, {
    begin: <T>(fn: (tx: Tx) => Promise<T>, options?: BeginOptions): Promise<T> =>
      calls.track('ctx.sql.begin', () => sql.begin(fn, options)),
    unsafe: <R extends object>(...args: Text): Promise<R[]> =>
      calls.track('ctx.sql.unsafe', () => sql.unsafe<R>(...args)),
  });
}
