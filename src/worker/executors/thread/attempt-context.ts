/**
 * The context of one attempt, made where its handler runs: its tenant's rows through a pool of this thread,
 * the LLM gateway through the supervisor.
 */
import type { Tx } from '../../../db/connect.ts';
import type { BeginOptions, TenantSql } from '../../../db/tenant.ts';
import { checkStatement, checkText } from '../../../db/guard/arguments.ts';
import { openTransaction } from '../../../db/guard/nesting.ts';
import { tenantSql } from '../../../db/tenant.ts';
import { PurserError } from '../../../errors.ts';
import type { JobContext } from '../../../handlers/define.ts';
import { toResult } from '../../../handlers/outcome.ts';
import { enqueueChild } from '../../../jobs/enqueue.ts';
import {
  asStoredPayload,
  checkOptions,
  checkRequest,
  childOptions,
} from '../../../jobs/request.ts';
import type { Llm } from '../../../llm/llm.ts';
import type { Logger } from '../../../log.ts';
import type { ContextParts } from './context-parts.ts';
import type { OpenCalls } from './open-calls.ts';
import { storableResult } from '../../store-value.ts';

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
  const { attempt, handler, abort, reports, calls } = parts.own;
  const { jobId, tenantId, token } = attempt;
  const deadlineMs = Date.now() + handler.timeoutMs;
  let sql: TenantSql | undefined;
  let ownSql: TenantSql | undefined;
  let llm: Llm | undefined;
  let log: Logger | undefined;
  const tenant = (): TenantSql => (ownSql ??= openSql(parts, deadlineMs, () => context.log));
  const context: JobContext<unknown> = {
    jobId,
    tenantId,
    payload,
    attempt: attempt.attempt,
    token,
    get signal() {
      return abort.signal;
    },
    get sql() {
      sql ??= trackedSql(tenant(), calls);
      return sql;
    },
    get llm() {
      llm ??= trackedLlm(parts.openLlm(), calls);
      return llm;
    },
    enqueue: (jobType, childPayload = {}, options = {}) =>
      calls.track('ctx.enqueue', async () => {
        const child = readOptions('ctx.enqueue', options);
        checkOptions('ctx.enqueue', child, childOptions);
        // Inside sql.begin() the child commits with that transaction, on its session.
        const connection = openTransaction(token) ?? tenant();
        const plain = asStoredPayload(childPayload);
        checkRequest({ jobType, ...child });
        const sealed = await parts.seal(connection, jobType, plain);
        parts.refuseSecrets(jobType, sealed, child.dedupKey);
        return enqueueChild(connection, { jobType, payload: sealed, ...child });
      }),
    progress: (done, note) => reports.progress(done, note),
    get log() {
      log ??= parts.openLog();
      return log;
    },
  };
  return context;
}

function openSql(parts: ContextParts, deadlineMs: number, log: () => Logger): TenantSql {
  const { attempt, abort, reports } = parts.own;
  return tenantSql(parts.tenant, {
    token: attempt.token,
    signal: abort,
    deadlineMs,
    storable: (result) => parts.redactResult(storableResult(toResult(result))),
    onRefused: ({ code, role: databaseRole, queryTag }) => {
      reports.refused();
      log().warn({ code, databaseRole, queryTag }, 'rls_enforcement_failed');
    },
  });
}

const trackedLlm = (llm: Llm, calls: OpenCalls): Llm => ({
  generate: (request) => calls.track('ctx.llm.generate', () => llm.generate(request)),
});

type Query = Parameters<TenantSql>;
type Text = Parameters<TenantSql['unsafe']>;

function trackedSql(sql: TenantSql, calls: OpenCalls): TenantSql {
  // Not in its promise, which could be a value of another call, where nobody would handle its rejection.
  const query = <R extends object>(...args: Query): Promise<R[]> => {
    const [strings, ...values] = args;
    checkStatement(strings, values);
    return calls.track('ctx.sql', () => sql<R>(...args));
  };
  return Object.assign(query, {
    begin: <T>(fn: (tx: Tx) => Promise<T>, options?: BeginOptions): Promise<T> =>
      calls.track('ctx.sql.begin', () => sql.begin(fn, options)),
    unsafe: <R extends object>(...args: Text): Promise<R[]> => {
      checkText(...args);
      return calls.track('ctx.sql.unsafe', () => sql.unsafe<R>(...args));
    },
  });
}
