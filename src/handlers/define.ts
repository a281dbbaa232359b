/**
 * A handler implements one job type: its payload schema, timeout and attempts, and the function that runs; parsePayload
 * checks a payload. The function gets its tenant's rows and the LLM gateway, never a queue.
 */
import type { StandardSchemaV1 } from '@standard-schema/spec';
import type { TenantSql } from '../db/tenant.ts';
import { PurserError } from '../errors.ts';
import { isLlmTimeout, maxLlmTimeoutMs } from '../llm/check-call.ts';
import { readLlmDefaults } from '../llm/ladder/defaults.ts';
import type { LlmDefaults } from '../llm/ladder/defaults.ts';
import type { Llm } from '../llm/llm.ts';
import type { Logger } from '../log.ts';
import { nameFault } from '../names.ts';
import type { DefinedSchedule } from '../schedules/define.ts';
import { secretPathsOf } from './secret.ts';
import { withoutValue } from './without-value.ts';

export interface EnqueueChildOptions {
  /** Unique per tenant and job type until this job has ended and 24 hours have passed. */
  readonly dedupKey?: string;
  readonly runAt?: Date;
  /** Higher runs first within a tenant; -1000 to 1000. */
  readonly priority?: number;
  /** What the job shares a limit with, beside its tenant and its type: 1 to 200 visible characters, no `:*` at the end. */
  readonly group?: string;
}

export interface JobContext<P> {
  readonly jobId: string;
  readonly tenantId: string;
  readonly payload: P;
  /** 1 for the first attempt. */
  readonly attempt: number;
  /** The attempt's token; it is invalid once the attempt has ended. */
  readonly token: string;
  /** Aborts at the deadline, and when the worker gives the job up. */
  readonly signal: AbortSignal;
  readonly sql: TenantSql;
  readonly llm: Llm;
  /** Enqueues a job for the same tenant, only while this attempt is the current one. */
  readonly enqueue: (
    type: string,
    payload?: object,
    options?: EnqueueChildOptions,
  ) => Promise<{ jobId: string; created: boolean }>;
  /**
   * Reports progress, 0 to 1, with a note for the operator: shown by `jobs show` while the job runs. Cheap: only the
   * newest report is stored, every few seconds.
   */
  readonly progress: (done: number, note?: string) => void;
  readonly log: Logger;
}

export type Isolation = 'shared' | 'exclusive';

/** Milliseconds. Defaults: 2,000 and 300,000. */
export interface Backoff {
  readonly baseMs: number;
  readonly capMs: number;
}

export interface HandlerDefinition<S extends StandardSchemaV1> {
  /** Lower-case letters, digits and `_`; the name of the job type and of its queue. */
  readonly type: string;
  readonly timeoutMs: number;
  readonly maxAttempts: number;
  /** Of each LLM call that names no timeout itself, 1 to 600,000. Default: LLM_TIMEOUT_SECONDS. */
  readonly llmTimeoutMs?: number;
  /** Cheaper forms of its LLM calls, for those that name none themselves. */
  readonly llm?: LlmDefaults;
  /** Any Standard Schema (zod, valibot, arktype ...). Its output is `ctx.payload`. */
  readonly payload: S;
  /** When the budget refuses a call: wait for budget (default), or end as a dead letter. */
  readonly onBudget?: 'park' | 'fail';
  /** Total time that a job may wait before it ends as `expired`. Default 24 hours. */
  readonly giveUpAfterMs?: number;
  /** Maximum jobs of this type at once in one worker. Default: the worker's limit; 1 when exclusive. */
  readonly concurrency?: number;
  /**
   * `shared` (default): together with other jobs in one thread. `exclusive`: each job in a thread of its own, for
   * CPU-bound work.
   */
  readonly isolation?: Isolation;
  /**
   * A crash of Postgres itself can forget that a job had begun, so that it soon runs again beside the first attempt,
   * which can write nothing more. true: each begin waits for the disk, and that cannot happen. Default false.
   */
  readonly durableBegin?: boolean;
  /** The wait before the next attempt: random between 0 and min(capMs, baseMs * 2^(attempt - 1)). */
  readonly backoff?: Partial<Backoff>;
  readonly run: (ctx: JobContext<StandardSchemaV1.InferOutput<S>>) => Promise<unknown>;
}

/** Also accepted by PURSER_HANDLERS: a definition whose payload schema is optional; without one, any JSON object is. */
export type PlainHandler<P = Record<string, unknown>> = Omit<
  HandlerDefinition<StandardSchemaV1<unknown, P>>,
  'payload'
> & { readonly payload?: StandardSchemaV1<unknown, P> };

/** A checked definition; `S` is the schema of the payload that an enqueue takes. */
export interface Handler<S extends StandardSchemaV1 = StandardSchemaV1> {
  readonly type: string;
  readonly timeoutMs: number;
  readonly maxAttempts: number;
  readonly llmTimeoutMs?: number | undefined;
  readonly llm?: LlmDefaults | undefined;
  readonly onBudget: 'park' | 'fail';
  readonly giveUpAfterMs: number;
  /** undefined: the worker's limit. */
  readonly concurrency: number | undefined;
  readonly isolation: Isolation;
  readonly durableBegin: boolean;
  readonly backoff: Backoff;
  readonly payload: S;
  /** Paths of the fields that `secret()` marks; they are stored encrypted. */
  readonly secretPaths: readonly string[];
  /** Of the module that it was loaded from. */
  readonly schedules?: readonly DefinedSchedule[];
  readonly run: (ctx: JobContext<unknown>) => Promise<unknown>;
}

const dayMs = 86_400_000;
const maxTimeoutMs = dayMs;
const maxConcurrency = 1_000;
const maxGiveUpAfterMs = 3650 * dayMs;

export const defaultBackoff: Backoff = { baseMs: 2_000, capMs: 300_000 };

/** Checks a definition and fills in its defaults. Throws `invalid_handler` naming the field. */
export function defineHandler<S extends StandardSchemaV1>(
  definition: HandlerDefinition<S>,
): Handler<S> {
  const { type, timeoutMs, maxAttempts, llmTimeoutMs } = definition;
  const refuse = (fault: string): never => {
    throw new PurserError('invalid_handler', `handler ${JSON.stringify(type)}: ${fault}`);
  };
  const typeFault = nameFault('job_type', type);
  if (typeFault !== undefined) refuse(`type: ${typeFault}`);
  if (!Number.isInteger(timeoutMs) || timeoutMs < 1 || timeoutMs > maxTimeoutMs) {
    refuse(`timeoutMs must be a whole number of milliseconds from 1 to ${maxTimeoutMs}`);
  }
  if (!Number.isInteger(maxAttempts) || maxAttempts < 1 || maxAttempts > 100) {
    refuse('maxAttempts must be a whole number from 1 to 100');
  }
  if (!isLlmTimeout(llmTimeoutMs ?? 1)) {
    refuse(`llmTimeoutMs must be a whole number of milliseconds from 1 to ${maxLlmTimeoutMs}`);
  }
  const {
    concurrency,
    isolation = 'shared',
    durableBegin = false,
    onBudget = 'park',
    giveUpAfterMs = dayMs,
  } = definition;
  // JavaScript modules are not checked by a compiler.
  if (!['park', 'fail'].includes(onBudget)) refuse("onBudget must be 'park' or 'fail'");
  if (!['shared', 'exclusive'].includes(isolation)) {
    refuse("isolation must be 'shared' or 'exclusive'");
  }
  if (typeof durableBegin !== 'boolean') refuse('durableBegin must be true or false');
  if (!Number.isInteger(giveUpAfterMs) || giveUpAfterMs < 1 || giveUpAfterMs > maxGiveUpAfterMs) {
    refuse(`giveUpAfterMs must be a whole number of milliseconds from 1 to ${maxGiveUpAfterMs}`);
  }
  if (typeof definition.run !== 'function') refuse('run must be a function');
  if (typeof definition.payload?.['~standard']?.validate !== 'function') {
    refuse('payload must be a Standard Schema (zod, valibot, arktype ...), e.g. z.object({})');
  }
  if (
    concurrency !== undefined &&
    !(Number.isInteger(concurrency) && concurrency >= 1 && concurrency <= maxConcurrency)
  ) {
    refuse(`concurrency must be a whole number from 1 to ${maxConcurrency}`);
  }
  const llm = readLlmDefaults(definition.llm, refuse);
  const backoff = { ...defaultBackoff, ...definition.backoff };
  for (const [name, ms] of Object.entries(backoff)) {
    if (!Number.isInteger(ms) || ms < 0 || ms > dayMs) {
      refuse(`backoff.${name} must be a whole number of milliseconds from 0 to ${dayMs}`);
    }
  }
  return {
    type,
    timeoutMs,
    maxAttempts,
    llmTimeoutMs,
    llm,
    onBudget,
    giveUpAfterMs,
    concurrency: concurrency ?? (isolation === 'exclusive' ? 1 : undefined),
    isolation,
    durableBegin,
    backoff,
    payload: definition.payload,
    secretPaths: secretPathsOf(type, definition.payload),
    // The pipeline parses with this very schema before it calls run, so the context's payload is its output.
    run: definition.run,
  };
}

/** Parses a payload. Throws `invalid_payload` (fatal), which names each field and its fault, never its value. */
export async function parsePayload(handler: Handler, payload: unknown): Promise<unknown> {
  return parsePayloadNow(handler, payload);
}

/** Like `parsePayload`; a promise only where the schema answers with one. */
export function parsePayloadNow(handler: Handler, payload: unknown): unknown {
  const parsed = validatePayload(handler, payload);
  return 'then' in parsed
    ? parsePromised(handler, payload, parsed)
    : valueOf(handler, payload, parsed);
}

const parsePromised = async (
  handler: Handler,
  payload: unknown,
  parsed: Promise<Validated>,
): Promise<unknown> => valueOf(handler, payload, await parsed);

type Validated = StandardSchemaV1.Result<unknown>;

const validatePayload = (handler: Handler, payload: unknown): Validated | Promise<Validated> =>
  handler.payload['~standard'].validate(payload);

function valueOf(handler: Handler, payload: unknown, parsed: Validated): unknown {
  if (parsed.issues === undefined) return parsed.value;
  const faults = parsed.issues.map((issue) => {
    const path = (issue.path ?? []).map((part) => (typeof part === 'object' ? part.key : part));
    const fault = withoutValue(issue.message, payload, path);
    return path.length === 0 ? fault : `${path.map(String).join('.')}: ${fault}`;
  });
  throw new PurserError('invalid_payload', `payload of ${handler.type}: ${faults.join('; ')}`, {
    details: { class: 'fatal' },
  });
}
