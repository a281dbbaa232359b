/**
 * The side that runs handlers, many at a time in one thread: it starts what it is told to, ends every
 * attempt with a value, and passes on what a handler says and asks. It decides nothing about deadlines.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { DestinationStream } from 'pino';
import type { OpenKeys } from '../../crypto/open-keyring.ts';
import { openFields } from '../../crypto/secrets/fields.ts';
import { SecretTexts } from '../../crypto/secrets/texts.ts';
import { secretWatch } from '../../crypto/secrets/watch.ts';
import type { TenantPool, TenantSql } from '../../db/tenant.ts';
import type { PurserError } from '../../errors.ts';
import { parsePayload } from '../../handlers/define.ts';
import type { Handler } from '../../handlers/define.ts';
import type { HandlerRegistry } from '../../handlers/index.ts';
import { payloadSealer } from '../../handlers/seal.ts';
import type { AttemptEnd, BegunAttempt } from '../../jobs/attempts.ts';
import type { LlmCall, LlmReply } from '../../llm/llm.ts';
import { createHandlerLlm } from '../../llm/handler-llm.ts';
import { makeContext } from './attempt-context.ts';
import { AttemptLog } from './attempt-log.ts';
import { endOfReturn, endOfThrow } from '../classify.ts';
import type { FromExecutor, SharedBoard, ToExecutor } from './protocol.ts';
import { packError, unpackError } from './packed-errors.ts';
import { endWithout, errorWithout } from './redact.ts';

export interface ExecutorOptions {
  readonly registry: HandlerRegistry;
  readonly tenant: TenantPool;
  readonly openKeys: OpenKeys;
  readonly logLevel: string;
  readonly graceMs: number;
  readonly stderr: DestinationStream;
  readonly post: (message: FromExecutor) => void;
  /** undefined in a process of its own, where nobody competes for an attempt. */
  readonly board: SharedBoard | undefined;
}

interface Running {
  readonly token: string;
  readonly place: number;
  readonly controller: AbortController;
  /** What was opened for it, and must not be in anything that leaves. */
  readonly secrets: SecretTexts;
}

interface PendingCall {
  readonly resolve: (reply: LlmReply) => void;
  readonly reject: (error: unknown) => void;
}

const graceSteps = 10;

/** Which attempt the code that runs now belongs to, through every callback and promise of it. */
export const currentAttempt = new AsyncLocalStorage<Running>();

export class Executor {
  readonly #options: ExecutorOptions;
  readonly #running = new Map<string, Running>();
  readonly #calls = new Map<number, PendingCall>();
  #lastCallId = 0;

  constructor(options: ExecutorOptions) {
    this.#options = options;
  }

  /** Takes one message of the supervisor; `stop` is the caller's. */
  receive(message: ToExecutor): void {
    switch (message.kind) {
      case 'run':
        if (this.#options.board?.claim(message.place) !== false) this.#start(message);
        return;
      case 'abort':
        this.#abort(message.token, unpackError(message.reason));
        return;
      case 'llm_reply':
        this.#takeCall(message.callId)?.resolve(message.reply);
        return;
      case 'llm_error':
        this.#takeCall(message.callId)?.reject(unpackError(message.error));
        return;
      default:
    }
  }

  /** The attempt did what ends it, outside of what it returns: a promise nobody waits for, process.exit. */
  fault(token: string, error: PurserError): void {
    const running = this.#running.get(token);
    if (running === undefined || running.controller.signal.aborted) return;
    const reason = errorWithout(running.secrets, packError(error));
    this.#options.post({ kind: 'aborting', token, reason });
    this.#abort(token, error);
  }

  /** Text of this thread without the secrets of what runs in it, or goes on after its attempt has ended. */
  redact(text: string): string {
    const left = currentAttempt.getStore();
    const speakers = new Set([...this.#running.values(), ...(left === undefined ? [] : [left])]);
    let rest = text;
    for (const { secrets } of speakers) rest = secrets.redact(rest);
    return rest;
  }

  #abort(token: string, reason: unknown): void {
    const running = this.#running.get(token);
    if (running === undefined || running.controller.signal.aborted) return;
    running.controller.abort(reason);
    this.#countGrace(token, graceSteps);
  }

  /** In steps, so that time in which a neighbour blocked the loop is not taken from this handler's grace. */
  #countGrace(token: string, steps: number): void {
    if (!this.#running.has(token)) return;
    if (steps === 0) this.#options.post({ kind: 'ignored', token });
    else setTimeout(() => this.#countGrace(token, steps - 1), this.#options.graceMs / graceSteps);
  }

  #start({ attempt, place }: { attempt: BegunAttempt; place: number }): void {
    const { token } = attempt;
    const { post, board } = this.#options;
    const secrets = new SecretTexts();
    const running: Running = { token, place, controller: new AbortController(), secrets };
    this.#running.set(token, running);
    post({ kind: 'started', token });
    const reports = new AttemptLog((report) => post({ kind: 'report', token, ...report }), secrets);
    const watch = {
      opened: (value: string) => secrets.add(value),
      failed: () => reports.decryptionFailed(),
    };
    board?.setCurrent(place);
    void currentAttempt
      .run(running, () => secretWatch.run(watch, () => this.#endOf(attempt, running, reports)))
      .then((end) => {
        this.#running.delete(token);
        reports.flush();
        return post({ kind: 'ended', token, end: endWithout(secrets, end) });
      });
  }

  async #endOf(attempt: BegunAttempt, running: Running, reports: AttemptLog): Promise<AttemptEnd> {
    const { registry, openKeys } = this.#options;
    const handler = registry.get(attempt.jobType);
    if (handler === undefined) return withoutHandler(attempt);
    const { signal } = running.controller;
    try {
      const opened = await openFields(attempt.payload, handler.secretPaths, attempt, openKeys);
      const payload = await parsePayload(handler, opened);
      signal.throwIfAborted();
      const returned = await handler.run(
        this.#context(attempt, handler, running, reports, payload),
      );
      // A deadline is a deadline: what came after it counts no more than what never came.
      signal.throwIfAborted();
      return endOfReturn(returned, { attempt, handler, now: new Date() });
    } catch (error) {
      const thrown: unknown = signal.aborted ? signal.reason : error;
      return endOfThrow(thrown, { attempt, handler, now: new Date() });
    }
  }

  #context(
    attempt: BegunAttempt,
    handler: Handler,
    { controller: { signal }, secrets }: Running,
    reports: AttemptLog,
    payload: unknown,
  ) {
    const { tenant, logLevel: level, stderr, post, registry, openKeys } = this.#options;
    const { jobId, tenantId, jobType, token } = attempt;
    const openLog = () => reports.logger({ level, stderr, about: { jobId, tenantId, jobType } });
    const llm = createHandlerLlm(
      (call) => this.#call(token, call),
      (fits) => post({ kind: 'llm_judged', fits }),
    );
    const seal = (sql: TenantSql, childType: string, child: object): Promise<object> => {
      const paths = registry.get(childType)?.secretPaths ?? [];
      return payloadSealer(sql, openKeys)({ tenantId, jobType: childType }, child, paths);
    };
    const redact = <T>(value: T): T => secrets.redactValue(value);
    const given = { attempt, handler, tenant, llm, signal, reports, openLog, redact, seal };
    return makeContext(given, payload);
  }

  #call(token: string, call: LlmCall): Promise<LlmReply> {
    this.#lastCallId += 1;
    const callId = this.#lastCallId;
    return new Promise((resolve, reject) => {
      this.#calls.set(callId, { resolve, reject });
      this.#options.post({ kind: 'llm_call', token, callId, call });
    });
  }

  #takeCall(callId: number): PendingCall | undefined {
    const pending = this.#calls.get(callId);
    this.#calls.delete(callId);
    return pending;
  }
}

/** The module changed under a running worker. Another worker, or this one started anew, may know the type. */
function withoutHandler({ jobType }: BegunAttempt): AttemptEnd {
  return {
    toState: 'pending',
    countsAttempt: false,
    scheduledFor: new Date(Date.now() + 30_000),
    detail: { reason: `this worker's handlers have no ${jobType} any more; start it again` },
  };
}
