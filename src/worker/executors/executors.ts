/**
 * The supervisor's pool of executors: it gives every attempt to an executor, replaces executors that retired or were
 * killed, and answers the LLM calls of handlers. Every attempt that it is given ends once.
 */
import type { AbortSource } from './abort-source.ts';
import type { BegunAttempt } from '../../jobs/attempts.ts';
import { handedBack } from '../classify.ts';
import { createAssignment } from './assignment.ts';
import type { Assignment, Lane, Outcome } from './assignment.ts';
import { ManagedExecutor } from './managed-executor.ts';
import { executorConnections } from './managed-executor-options.ts';
import type { ManagedExecutorEvents, ExecutorKind } from './managed-executor-options.ts';
import type { ExecutorsListener, ExecutorsOptions } from './executors-options.ts';
import type { FromExecutor, JobTypeFacts } from './protocol.ts';
import { RunTimes } from './run-times.ts';
import { defaultTiming, everyUnlessLate } from './timing.ts';
import type { ExecutorTiming } from './timing.ts';
import { PatchingTypes } from './patching-types.ts';
import { LlmCalls } from './llm/llm-calls.ts';
import { unpackError } from './packed-errors.ts';

const checkEveryMs = 100;
const suspectRetryMs = 3_000;
/** An attempt to which its lane has not come for so long is taken back: some job runs for much longer than its like. */
const recallAfterMs = 500;
/** After handlers failed to load, no executor is started for so long. */
const loadFailurePauseMs = 10_000;

export class Executors {
  readonly runTimes = new RunTimes();
  readonly #options: ExecutorsOptions;
  readonly #timing: ExecutorTiming;
  readonly #executors = new Set<ManagedExecutor>();
  readonly #waitingSuspects: Assignment[] = [];
  readonly #patching: PatchingTypes;
  readonly #llmCalls: LlmCalls;
  readonly #checkTimer: NodeJS.Timeout;
  #listener: ExecutorsListener | undefined;
  #jobTypes: ReadonlyMap<string, JobTypeFacts> = new Map();
  #opening: ((outcome: readonly JobTypeFacts[] | Error) => void) | undefined;
  #executorCount = 0;
  #loadPausedUntilMs = 0;
  #closed = false;

  private constructor(options: ExecutorsOptions) {
    this.#options = options;
    this.#llmCalls = new LlmCalls(options);
    this.#patching = new PatchingTypes(options.log);
    this.#timing = { ...defaultTiming, ...options.timing };
    this.#checkTimer = everyUnlessLate(checkEveryMs, (nowMs) => {
      for (const executor of this.#executors) executor.checkHeartbeat();
      this.recall(nowMs - recallAfterMs);
    });
  }

  /** Starts the first executor, which loads the handlers. Throws `invalid_handlers` (exit 78). */
  static async open(options: ExecutorsOptions): Promise<Executors> {
    const executors = new Executors(options);
    const outcome = await new Promise<readonly JobTypeFacts[] | Error>((resolve) => {
      executors.#opening = resolve;
      executors.#spawn('shared');
    });
    executors.#opening = undefined;
    if (outcome instanceof Error) {
      await executors.close();
      throw outcome;
    }
    executors.#jobTypes = new Map(outcome.map((facts) => [facts.type, facts]));
    return executors;
  }

  /** The job types that there are handlers for. */
  get jobTypes(): ReadonlyMap<string, JobTypeFacts> {
    return this.#jobTypes;
  }

  listen(listener: ExecutorsListener): void {
    this.#listener = listener;
  }

  /** Whether it runs in a thread with others. */
  sharesThread(attempt: BegunAttempt): boolean {
    return this.#patching.kindFor({ attempt, facts: this.#factsOf(attempt) }) === 'shared';
  }

  /**
   * Runs an attempt to its end, after those that were given for its lane before it; terminates one that is aborted and
   * does not stop. `onOutcome` is called once: with undefined when the lane did not come to it, so it has not started.
   */
  run(
    attempt: BegunAttempt,
    abort: AbortSource,
    onOutcome: (outcome: Outcome | undefined) => void,
    lane?: Lane,
  ): void {
    const facts = this.#factsOf(attempt);
    const assignment = createAssignment({ attempt, facts, abort, lane }, onOutcome);
    abort.onAbort(() => this.#aborted(assignment));
    this.#assign(assignment);
    if (abort.aborted) this.#aborted(assignment);
  }

  /** Takes back attempts that were given before, by performance.now(), and to which their lane has not come. */
  recall(givenBeforeMs = Infinity): void {
    for (const executor of this.#executors) executor.recall(givenBeforeMs);
  }

  /** Ends all executors; attempts that still run are handed back. */
  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#checkTimer);
    await Promise.all(
      [...this.#executors].map((executor) =>
        executor.size === 0 ? executor.stop() : executor.kill('retired', 'the worker is stopping'),
      ),
    );
    await this.#options.llm.close();
  }

  #factsOf({ jobType }: BegunAttempt): JobTypeFacts {
    const facts = this.#jobTypes.get(jobType);
    if (facts === undefined) throw new Error(`this worker has no handler for ${jobType}`);
    return facts;
  }

  #aborted(assignment: Assignment): void {
    if (assignment.isOver) return;
    const waiting = this.#waitingSuspects.indexOf(assignment);
    if (waiting !== -1) {
      this.#waitingSuspects.splice(waiting, 1);
      assignment.resolve({ end: handedBack('the worker aborted it before it started', 0) });
      return;
    }
    const { token } = assignment.attempt;
    [...this.#executors].find((one) => one.find(token) !== undefined)?.abort(assignment);
  }

  #assign(assignment: Assignment): void {
    const kind = this.#patching.kindFor(assignment);
    const returned = (reason: string, afterMs: number) =>
      assignment.resolve({ end: handedBack(reason, afterMs) });
    if (this.#closed) returned('the worker is stopping', 0);
    else if (this.#isLoadPaused && (kind !== 'shared' || this.#open.length === 0))
      returned('the handlers of this worker do not load', loadFailurePauseMs);
    else if (assignment.lane !== undefined) this.#assignInLane(assignment, assignment.lane, kind);
    else if (kind !== 'alone' || !this.#hasSuspect()) this.#choose(kind).give(assignment);
    else if (this.#waitingSuspects.length < this.#options.maxWaitingSuspects)
      this.#waitingSuspects.push(assignment);
    else returned('another suspect runs in this worker', suspectRetryMs * (0.5 + Math.random()));
  }

  #assignInLane(assignment: Assignment, lane: Lane, kind: ExecutorKind): void {
    lane.executor ??= this.#choose('shared');
    if (kind === 'shared' && lane.executor.isOpen) lane.executor.give(assignment);
    else assignment.resolve(undefined);
  }

  /** Open executors continue; none is started. */
  get #isLoadPaused(): boolean {
    return performance.now() < this.#loadPausedUntilMs;
  }

  get #open(): ManagedExecutor[] {
    return [...this.#executors].filter(({ kind, isOpen }) => kind === 'shared' && isOpen);
  }

  #hasSuspect(): boolean {
    return [...this.#executors].some(({ kind }) => kind === 'alone');
  }

  #choose(kind: ExecutorKind): ManagedExecutor {
    if (kind !== 'shared') return this.#spawn(kind);
    const open = this.#open;
    const enough = open.some(({ size }) => size === 0 || this.#isLoadPaused);
    if (open.length < this.#options.threads && !enough) return this.#spawn(kind);
    return open.reduce((least, executor) => (executor.size < least.size ? executor : least));
  }

  #spawn(kind: ExecutorKind): ManagedExecutor {
    const { setup, spawn, log, metrics } = this.#options;
    this.#executorCount += 1;
    const applicationName = `${this.#options.applicationName} ${this.#executorCount}`;
    const tenantConnections = executorConnections[kind];
    const start = kind === 'alone' ? spawn.process : spawn.thread;
    const executor = new ManagedExecutor({
      kind,
      applicationName,
      handlersModule: setup.handlersModule,
      graceMs: setup.graceMs,
      timing: this.#timing,
      log,
      metrics,
      spawn: (events) => start({ ...setup, tenantConnections, applicationName }, events),
      events: this.#events(),
    });
    this.#executors.add(executor);
    return executor;
  }

  #events(): ManagedExecutorEvents<ManagedExecutor> {
    return {
      message: (executor, message) => this.#receive(executor, message),
      reassign: (assignments) => this.#reassign(assignments),
      idle: (executor) => this.#idle(executor),
      threadStuck: (text) => this.#listener?.threadStuck(text),
      endSessions: this.#options.endSessions,
    };
  }

  /** Attempts that a retired executor had not started; its successor starts to load at once. */
  #reassign(assignments: readonly Assignment[]): void {
    for (const assignment of assignments) this.#assign(assignment);
    if (!this.#closed && !this.#isLoadPaused && this.#jobTypes.size > 0) this.#choose('shared');
  }

  #receive(executor: ManagedExecutor, message: FromExecutor): void {
    switch (message.kind) {
      case 'ready':
        return this.#opening?.(message.jobTypes);
      case 'load_failed': {
        const error = unpackError(message.error);
        this.#opening?.(error);
        this.#options.log.error({ error }, 'handlers_load_failed');
        this.#loadPausedUntilMs = performance.now() + loadFailurePauseMs;
        void executor.kill('retired', 'its handlers do not load');
        return;
      }
      case 'ended':
        return this.runTimes.add(executor.find(message.token)?.attempt.jobType, message.runMs);
      case 'report':
        return this.#listener?.report(message.token, message);
      case 'built_in_changed':
        return this.#patching.add(message);
      case 'left_fault':
        return this.#options.log.warn(message.about, 'handler_left_fault');
      default:
        this.#llmCalls.receive(executor, message);
    }
  }

  #idle(executor: ManagedExecutor): void {
    if (executor.isOpen || !this.#executors.delete(executor)) return;
    void executor.stop();
    // A loop: assigning ends a suspect at once when no executor can start.
    while (!this.#closed && this.#waitingSuspects.length > 0 && !this.#hasSuspect())
      for (const next of this.#waitingSuspects.splice(0, 1)) this.#assign(next);
  }
}
