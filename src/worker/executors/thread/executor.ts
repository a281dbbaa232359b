/**
 * Runs handlers, many at a time in one thread: it starts attempts on the supervisor's order, ends each with a value,
 * and forwards its reports and LLM calls. Deadlines are the supervisor's.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { setImmediate, setTimeout } from 'node:timers';
import { openFields } from '../../../crypto/secrets/fields.ts';
import { SecretTexts } from '../../../crypto/secrets/texts.ts';
import { secretWatch } from '../../../crypto/secrets/watch.ts';
import type { PurserError } from '../../../errors.ts';
import { parsePayloadNow } from '../../../handlers/define.ts';
import type { AttemptEnd, BegunAttempt } from '../../../jobs/attempts.ts';
import { makeContext } from './attempt-context.ts';
import { ContextParts } from './context-parts.ts';
import type { AttemptExecutor, AttemptServices } from './context-parts.ts';
import { AttemptLog } from './attempt-log.ts';
import { builtInsBroken } from './built-in-watch.ts';
import type { BuiltInWatch } from './built-in-watch.ts';
import { endOfReturn, endOfThrow } from '../../classify.ts';
import { AbortSource } from '../abort-source.ts';
import type { ClaimTable } from '../claim-table.ts';
import type { RunMessage, ToExecutor } from '../protocol.ts';
import { packError, unpackError } from '../packed-errors.ts';
import { OpenCalls } from './open-calls.ts';
import { Lanes } from './lanes.ts';
import { parsedPayload } from './parsed-payload.ts';
import { PendingCalls } from './pending-calls.ts';
import { withoutHandler } from './without-handler.ts';
import { redactAttemptEnd, redactError } from './redact.ts';

export interface ExecutorOptions extends AttemptServices {
  readonly graceMs: number;
  readonly builtIns?: BuiltInWatch | undefined;
  /** undefined in a process: its attempts are given to no other executor. */
  readonly claimTable: ClaimTable | undefined;
}

interface Running {
  readonly token: string;
  readonly jobId: string;
  readonly jobType: string;
  readonly slotIndex: number;
  readonly laneId: number | undefined;
  readonly startedAtMs: number;
  readonly abort: AbortSource;
  /** Opened for this attempt; removed from everything that leaves it. */
  readonly secrets: SecretTexts;
}

const graceSteps = 10;
/** As it was before any handler ran. */
const nowMs = performance.now.bind(performance);

/** The attempt whose code runs now, through all its callbacks and promises. */
export const currentAttempt = new AsyncLocalStorage<Running>();

export class Executor {
  readonly #options: ExecutorOptions;
  readonly #running = new Map<string, Running>();
  readonly #calls: PendingCalls;
  readonly #lanes = new Lanes<RunMessage>();
  readonly #ofAttempts: AttemptExecutor;

  constructor(options: ExecutorOptions) {
    this.#options = options;
    this.#calls = new PendingCalls(options.post);
    const isRunning = (token: string): boolean => this.#running.has(token);
    this.#ofAttempts = { services: options, llmCalls: this.#calls, isRunning };
  }

  /** Handles one message of the supervisor, all kinds but `stop`. */
  receive(message: ToExecutor): void {
    switch (message.kind) {
      case 'run':
        if (this.#lanes.enter(message) && !this.#startOnce(message)) this.#startNext(message);
        return;
      case 'abort':
        this.#abort(message.token, unpackError(message.reason));
        return;
      case 'llm_reply':
        this.#calls.take(message.callId)?.resolve(message.reply);
        return;
      case 'llm_text':
        this.#calls.text(message.callId, message.text);
        return;
      case 'llm_error':
        this.#calls.take(message.callId)?.reject(unpackError(message.error));
        return;
      default:
    }
  }

  /**
   * Ends the attempt for a fault outside its own call: an unhandled rejection, process.exit. false: it is not running
   * any more.
   */
  fault(token: string, error: PurserError): boolean {
    const running = this.#running.get(token);
    if (running === undefined) return false;
    if (running.abort.aborted) return true;
    const reason = redactError(running.secrets, packError(error));
    this.#options.post({ kind: 'aborting', token, reason });
    this.#abort(token, error);
    return true;
  }

  /** Removes the secrets of every running attempt, and of an ended one whose code still runs. */
  redact(text: string): string {
    const current = currentAttempt.getStore();
    const attempts = new Set([...this.#running.values(), ...(current ? [current] : [])]);
    let redacted = text;
    for (const { secrets } of attempts) redacted = secrets.redact(redacted);
    return redacted;
  }

  #abort(token: string, reason: unknown): void {
    const running = this.#running.get(token);
    if (running === undefined || running.abort.aborted) return;
    running.abort.abort(reason);
    this.#countGrace(token, graceSteps);
  }

  /** In steps, so that the time in which another handler blocked the loop does not count. */
  #countGrace(token: string, steps: number): void {
    if (!this.#running.has(token)) return;
    if (steps === 0) this.#options.post({ kind: 'abort_ignored', token });
    else setTimeout(() => this.#countGrace(token, steps - 1), this.#options.graceMs / graceSteps);
  }

  /** Unless the supervisor gives it to another executor; it does where built-ins of this one have changed. */
  #startOnce(message: RunMessage): boolean {
    const { builtIns, claimTable } = this.#options;
    const { token, jobType } = message.attempt;
    if (builtIns?.mayStart(token, jobType) === false) return false;
    if (claimTable?.claim(message.slotIndex) === false) {
      builtIns?.ended(token);
      return false;
    }
    this.#start(message);
    return true;
  }

  /** The next attempt of its lane that starts here. */
  #startNext({ laneId }: Pick<RunMessage, 'laneId'>): void {
    let next = this.#lanes.next(laneId);
    while (next !== undefined && !this.#startOnce(next)) next = this.#lanes.next(laneId);
  }

  #start({ attempt, slotIndex, laneId }: RunMessage): void {
    const { token, jobId, jobType } = attempt;
    const { post, claimTable } = this.#options;
    const secrets = new SecretTexts();
    const abort = new AbortSource();
    const about = { token, jobId, jobType, slotIndex, laneId };
    const running: Running = { ...about, startedAtMs: nowMs(), abort, secrets };
    this.#running.set(token, running);
    post({ kind: 'started', token });
    const reports = new AttemptLog((report) => post({ kind: 'report', token, ...report }), secrets);
    const watch = {
      opened: (value: string) => secrets.add(value),
      failed: () => reports.decryptionFailed(),
    };
    claimTable?.setRunning(slotIndex);
    const work = currentAttempt.run(running, () =>
      secretWatch.run(watch, () => this.#endOf(attempt, running, reports)),
    );
    void this.#postEnd(work, running, reports);
  }

  /** Awaits, so that a handler that replaced Promise.prototype.then cannot lose the end. */
  async #postEnd(
    work: Promise<AttemptEnd>,
    { token, secrets, slotIndex, laneId, startedAtMs }: Running,
    reports: AttemptLog,
  ): Promise<void> {
    const { post, builtIns, claimTable } = this.#options;
    try {
      const end = await work;
      this.#running.delete(token);
      this.#calls.end(token);
      reports.flush();
      const judged = redactAttemptEnd(secrets, builtIns?.judge(end) ?? end);
      claimTable?.end(slotIndex);
      post({ kind: 'ended', token, end: judged, runMs: nowMs() - startedAtMs });
    } catch {
      // Built-ins that this code needs do not work any more: the supervisor ends the attempt.
      this.#running.delete(token);
      claimTable?.end(slotIndex);
      post({ kind: 'aborting', token, reason: builtInsBroken });
      post({ kind: 'abort_ignored', token });
    }
    builtIns?.ended(token);
    if (laneId !== undefined) setImmediate(() => this.#startNext({ laneId }));
  }

  async #endOf(attempt: BegunAttempt, running: Running, reports: AttemptLog): Promise<AttemptEnd> {
    const { registry, openKeys } = this.#options;
    const handler = registry.get(attempt.jobType);
    if (handler === undefined) return withoutHandler(attempt);
    const { abort } = running;
    try {
      const stored = parsedPayload(attempt);
      const { secretPaths: paths } = handler;
      const opened =
        paths.length === 0 ? stored : await openFields(stored, paths, attempt, openKeys);
      // In a later turn than the report of the start, whatever the handler does.
      const payload = await parsePayloadNow(handler, opened);
      abort.throwIfAborted();
      const calls = new OpenCalls();
      const parts = new ContextParts(this.#ofAttempts, {
        attempt,
        handler,
        abort,
        secrets: running.secrets,
        reports,
        calls,
      });
      const returned = await handler.run(makeContext(parts, payload));
      // A value that is returned after the deadline is not used.
      abort.throwIfAborted();
      calls.assertNone();
      return endOfReturn(returned, { attempt, handler, now: new Date() });
    } catch (error) {
      const thrown: unknown = abort.aborted ? abort.reason : error;
      return endOfThrow(thrown, { attempt, handler, now: new Date() });
    }
  }
}
