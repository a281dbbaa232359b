/**
 * One executor as the supervisor sees it: what it was given, the deadlines of that, and its end by force.
 * Every attempt that is given to it is settled once, or given back to the pool unbegun.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { JobTimeoutError, PurserError } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import { endAfterKill } from './after-kill.ts';
import type { Kill } from './after-kill.ts';
import type { Assignment } from './assignment.ts';
import { endOfThrow } from './classify.ts';
import type { DeathCause, FromExecutor } from './executor-protocol.ts';
import type { ExecutorHandle } from './executor-spawn.ts';
import type { ExecutorTiming } from './executor-timing.ts';
import { packError, unpackError } from './packed-errors.ts';

/** shared: many jobs in one thread. exclusive: a thread for one job. alone: a process for one suspect. */
export type MemberKind = 'shared' | 'exclusive' | 'alone';

/** What the pool hears of a member. */
export interface MemberEvents {
  /** What concerns others than the member: ready, unfit, report, llm_call. */
  readonly message: (member: Member, message: FromExecutor) => void;
  /** Not begun there, and never will be. */
  readonly again: (assignments: readonly Assignment[]) => void;
  /** It has nothing left, or is dead. */
  readonly idle: (member: Member) => void;
  /** Its thread does not die. */
  readonly wedged: (text: string) => void;
  readonly endSessions: (applicationName: string) => Promise<unknown>;
}

export interface MemberOptions {
  readonly kind: MemberKind;
  readonly applicationName: string;
  readonly graceMs: number;
  readonly timing: ExecutorTiming;
  readonly log: Logger;
  readonly metrics: Pick<Metrics, 'executorsBlocked' | 'executorsKilled'>;
  readonly events: MemberEvents;
}

/** Several beats were left out: more than a busy machine's doing. */
const surelyBlockedMs = 500;

export class Member {
  readonly #options: MemberOptions;
  readonly #assignments = new Map<string, Assignment>();
  #handle: ExecutorHandle | undefined;
  /** Attempts that ever started here. */
  #served = 0;
  #closed = false;
  #dead = false;
  #loading: NodeJS.Timeout | undefined;
  #drain: NodeJS.Timeout | undefined;

  constructor(options: MemberOptions) {
    this.#options = options;
  }

  /** The handle's events name the member, so the member is made first. */
  attach(handle: ExecutorHandle): void {
    this.#handle = handle;
    const { timing, events } = this.#options;
    const text = `the handlers did not load within ${timing.readyWithinMs} ms`;
    const error = packError(new PurserError('invalid_handlers', text));
    this.#loading = setTimeout(
      () => events.message(this, { kind: 'unfit', error }),
      timing.readyWithinMs,
    );
  }

  get kind(): MemberKind {
    return this.#options.kind;
  }

  get size(): number {
    return this.#assignments.size;
  }

  /** Takes nothing new. */
  get closed(): boolean {
    return this.#closed;
  }

  get #running(): ExecutorHandle {
    if (this.#handle === undefined) throw new Error('the executor was not started');
    return this.#handle;
  }

  find(token: string): Assignment | undefined {
    return this.#assignments.get(token);
  }

  post(message: Parameters<ExecutorHandle['post']>[0]): void {
    if (!this.#dead) this.#running.post(message);
  }

  give(assignment: Assignment, place: number): void {
    assignment.place = place;
    this.#assignments.set(assignment.attempt.token, assignment);
    // A thread or process of its own ends with its job.
    if (this.kind !== 'shared') this.#closed = true;
    this.#running.board?.offer(place);
    this.post({ kind: 'run', place, attempt: assignment.attempt });
  }

  receive(message: FromExecutor): void {
    if (this.#dead) return;
    switch (message.kind) {
      case 'started':
        this.#started(message.token);
        return;
      case 'aborting':
        this.find(message.token)?.controller.abort(unpackError(message.reason));
        return;
      case 'ignored':
        this.#ignored(message.token);
        return;
      case 'ended':
        this.#take(message.token)?.settle(message.end);
        this.#endIfDone();
        return;
      case 'spoiled':
        this.#options.log.warn({ reason: message.reason }, 'executor_spoiled');
        this.close(this.#options.timing.drainMs, message.reason);
        return;
      default:
        clearTimeout(this.#loading);
        this.#options.events.message(this, message);
    }
  }

  /** The attempt's signal aborted: it is told, and has the grace to stop. */
  abort(assignment: Assignment): void {
    const { attempt, controller } = assignment;
    const reason: unknown = controller.signal.reason;
    if (!assignment.started && this.#running.board?.claim(assignment.place) !== false) {
      this.#take(attempt.token);
      assignment.settle(
        endOfThrow(reason, { attempt, handler: assignment.facts, now: new Date() }),
      );
      this.#endIfDone();
      return;
    }
    this.post({ kind: 'abort', token: attempt.token, reason: packError(reason) });
    clearTimeout(assignment.timer);
    assignment.timer = setTimeout(() => this.#unheard(assignment, 0), this.#options.graceMs);
  }

  /** Nothing new comes here; it ends when it is empty, or with `drainMs` by force. */
  close(drainMs: number | undefined, reason: string): void {
    if (!this.#closed) {
      this.#closed = true;
      this.#options.events.again(this.#withdraw());
    }
    if (drainMs !== undefined && this.#drain === undefined && !this.#dead) {
      this.#drain = setTimeout(() => void this.kill('left', reason), drainMs);
    }
    this.#endIfDone();
  }

  /** One look of the watchdog. */
  watch(): void {
    const { timing, log, metrics } = this.#options;
    const silentMs = this.#running.board?.beatAgeMs() ?? 0;
    if (this.#dead || this.kind !== 'shared' || silentMs < timing.blockedAfterMs) return;
    if (!this.#closed) {
      const jobs = [...this.#assignments.values()].map(({ attempt }) => attempt.jobId);
      log.warn({ silentMs: Math.round(silentMs), jobs, ...this.#signer() }, 'executor_blocked');
      metrics.executorsBlocked.inc();
      this.close(undefined, 'its thread was blocked');
    }
    if (silentMs > timing.strandedAfterMs && this.#assignments.size > 1) {
      void this.kill('killed', `its thread was blocked for ${Math.round(silentMs)} ms`);
    }
  }

  /** Ends it by force and settles what it had. Without `cause` nothing died by itself. */
  async kill(how: Kill['how'], text: string): Promise<void> {
    if (this.#dead) return;
    this.#dead = true;
    this.close(undefined, text);
    clearTimeout(this.#loading);
    clearTimeout(this.#drain);
    const { events, log, metrics, timing, applicationName } = this.#options;
    const left = [...this.#assignments.values()];
    const signer = this.#signer();
    metrics.executorsKilled.inc({ how });
    log.warn(
      { how, text, jobs: left.map(({ attempt }) => attempt.jobId), ...signer },
      'executor_killed',
    );
    const gone = await Promise.race([
      this.#running.terminate().then(() => true),
      sleep(timing.terminateWithinMs, false),
    ]);
    // Its connections close with it; a statement that runs would be noticed by the server a second later.
    events
      .endSessions(applicationName)
      .catch((error: unknown) => log.warn({ error }, 'sessions_not_ended'));
    const kill: Kill = { how, text, alone: this.#wasAlone };
    for (const assignment of left) {
      const { attempt, facts, controller } = assignment;
      const reason: unknown = controller.signal.reason;
      const signed = signer.signedBy === undefined ? undefined : signer.signedBy === attempt.jobId;
      assignment.settle(endAfterKill({ attempt, facts, reason }, kill, signed, new Date()));
    }
    this.#assignments.clear();
    if (!gone) events.wedged(text);
    events.idle(this);
  }

  /** Its code stopped by itself. */
  died({ how, text }: DeathCause): void {
    void this.kill(how, text);
  }

  /** The end in order: its pool closes first. */
  async stop(): Promise<void> {
    if (this.#dead) return;
    this.post({ kind: 'stop' });
    this.#dead = true;
    this.#closed = true;
    clearTimeout(this.#loading);
    clearTimeout(this.#drain);
    const { timing } = this.#options;
    await Promise.race([this.#running.ended, sleep(timing.stopWithinMs)]);
    await Promise.race([this.#running.terminate(), sleep(timing.terminateWithinMs)]);
  }

  get #wasAlone(): boolean {
    return this.kind !== 'shared' || this.#served <= 1;
  }

  #started(token: string): void {
    const assignment = this.find(token);
    if (assignment === undefined) return;
    const { controller, facts } = assignment;
    this.#served += 1;
    assignment.started = true;
    if (controller.signal.aborted) return;
    assignment.timer = setTimeout(
      () => controller.abort(new JobTimeoutError(facts.type, facts.timeoutMs)),
      facts.timeoutMs,
    );
  }

  /** The executor's own loop turned all through the grace, and the handler did not stop: it is to blame. */
  #ignored(token: string): void {
    const { log, timing } = this.#options;
    const assignment = this.find(token);
    if (assignment === undefined) return;
    const text = `its handler did not stop when it was told to`;
    if (this.kind !== 'shared') {
      void this.kill('killed', text);
      return;
    }
    const { attempt, facts: handler, controller } = assignment;
    this.#take(token);
    log.warn({ jobId: attempt.jobId, jobType: attempt.jobType }, 'handler_left_behind');
    assignment.settle(endOfThrow(controller.signal.reason, { attempt, handler, now: new Date() }));
    this.close(
      timing.drainMs,
      `the handler of job ${attempt.jobId} did not stop when it was told to`,
    );
  }

  /** The grace is over and the executor said nothing: its loop is blocked, or hardly turns. */
  #unheard(assignment: Assignment, looked: number): void {
    const { timing } = this.#options;
    const silentMs = this.#running.board?.beatAgeMs() ?? Infinity;
    if (silentMs >= surelyBlockedMs || looked > 0) {
      void this.kill('killed', `its thread was blocked (${assignment.facts.type} had to stop)`);
      return;
    }
    assignment.timer = setTimeout(
      () => this.#unheard(assignment, looked + 1),
      timing.blockedAfterMs,
    );
  }

  #take(token: string): Assignment | undefined {
    const assignment = this.#assignments.get(token);
    this.#assignments.delete(token);
    return assignment;
  }

  #withdraw(): Assignment[] {
    const { board } = this.#running;
    const unbegun = [...this.#assignments.values()].filter(
      ({ started, place }) => !started && board?.claim(place) === true,
    );
    for (const { attempt } of unbegun) this.#assignments.delete(attempt.token);
    return unbegun;
  }

  #signer(): { signedBy?: string } {
    const place = this.#running.board?.current() ?? 0;
    const found = [...this.#assignments.values()].find((assignment) => assignment.place === place);
    return found === undefined ? {} : { signedBy: found.attempt.jobId };
  }

  #endIfDone(): void {
    if (this.#assignments.size === 0) this.#options.events.idle(this);
  }
}
