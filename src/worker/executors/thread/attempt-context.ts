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

// A handler can replace those of the global.
const { defineProperties, defineProperty, freeze } = Object;

type Enqueue = JobContext<unknown>['enqueue'];

/** What the context makes when the handler asks for it. A handler can reach it, and what it shows the context shows too. */
class LazyParts {
  readonly #parts: ContextParts;
  readonly #deadlineMs: number;
  #tenantSql: TenantSql | undefined;
  #sql: TenantSql | undefined;
  #llm: Llm | undefined;
  #log: Logger | undefined;

  static {
    // All attempts of the thread share it.
    freeze(this.prototype);
  }

  constructor(parts: ContextParts) {
    this.#parts = parts;
    this.#deadlineMs = Date.now() + parts.own.handler.timeoutMs;
  }

  get signal(): AbortSignal {
    return this.#parts.own.abort.signal;
  }

  get sql(): TenantSql {
    this.#sql ??= trackedSql(this.#tenant(), this.#parts.own.calls);
    return this.#sql;
  }

  get llm(): Llm {
    this.#llm ??= trackedLlm(this.#parts.openLlm(), this.#parts.own.calls);
    return this.#llm;
  }

  get log(): Logger {
    this.#log ??= this.#parts.openLog();
    return this.#log;
  }

  enqueue(...[jobType, childPayload = {}, options = {}]: Parameters<Enqueue>): ReturnType<Enqueue> {
    const parts = this.#parts;
    return parts.own.calls.track('ctx.enqueue', async () => {
      const child = readOptions('ctx.enqueue', options);
      checkOptions('ctx.enqueue', child, childOptions);
      // First, because the refusal of a group quotes its beginning.
      parts.refuseSecretNames(jobType, child);
      // Inside sql.begin() the child commits with that transaction, on its session.
      const connection = openTransaction(parts.own.attempt.token) ?? this.#tenant();
      const plain = asStoredPayload(childPayload);
      checkRequest({ jobType, ...child });
      const sealed = await parts.seal(connection, jobType, plain);
      parts.refuseSecrets(jobType, sealed);
      return enqueueChild(connection, { jobType, payload: sealed, ...child });
    });
  }

  #tenant(): TenantSql {
    this.#tenantSql ??= openSql(this.#parts, this.#deadlineMs, () => this.log);
    return this.#tenantSql;
  }
}

const lazy = Symbol('lazy');

const lazyProperty = (name: 'signal' | 'sql' | 'llm' | 'log'): PropertyDescriptor => ({
  enumerable: true,
  configurable: true,
  get(this: { readonly [lazy]: LazyParts }) {
    return this[lazy][name];
  },
});

/**
 * The same functions for all contexts. Getters of an object literal are new ones for each object, and V8 keeps them and
 * all that they can see until the next full garbage collection.
 */
const lazyProperties = {
  signal: lazyProperty('signal'),
  sql: lazyProperty('sql'),
  llm: lazyProperty('llm'),
  log: lazyProperty('log'),
};

export function makeContext(parts: ContextParts, payload: unknown): JobContext<unknown> {
  const { attempt, reports } = parts.own;
  const { jobId, tenantId, token } = attempt;
  const made = new LazyParts(parts);
  const context: Omit<JobContext<unknown>, keyof typeof lazyProperties> = {
    jobId,
    tenantId,
    payload,
    attempt: attempt.attempt,
    token,
    enqueue: (...request) => made.enqueue(...request),
    progress: (done, note) => reports.progress(done, note),
  };
  defineProperty(context, lazy, { value: made });
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- with the properties that were left out above
  return defineProperties(context, lazyProperties) as JobContext<unknown>;
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
  // Tracked from its begin: one that nobody reads is never begun.
  stream: (request) => llm.stream(request),
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
