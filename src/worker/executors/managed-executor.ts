/**
 * One executor as the supervisor sees it: what it was given, the deadlines of that, and its end by force.
 * Every attempt that is given to it is settled once, or given back to the pool unbegun.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { settleKilled } from './after-kill.ts';
import type { Kill } from './after-kill.ts';
import { startDeadline } from './assignment.ts';
import type { Assignment } from './assignment.ts';
import { endOfThrow } from '../classify.ts';
import { unfit } from './protocol.ts';
import type { DeathCause, FromExecutor } from './protocol.ts';
import type { ExecutorHandle } from './spawn.ts';
import type { MemberKind, MemberOptions } from './managed-executor-options.ts';
import { packError, unpackError } from './packed-errors.ts';
import { Roster } from './assignment-table.ts';

/** Several beats were left out: more than a busy machine's doing. */
const surelyBlockedMs = 500;

export class Member {
  readonly #options: MemberOptions<Member>;
  #roster = new Roster(undefined);
  #handle: ExecutorHandle | undefined;
  /** Attempts that ever started here. */
  #served = 0;
  #closed = false;
  #dead = false;
  #loading: NodeJS.Timeout | undefined;
  #drain: NodeJS.Timeout | undefined;

  constructor(options: MemberOptions<Member>) {
    this.#options = options;
  }

  /** The handle's events name the member, so the member is made first. */
  attach(handle: ExecutorHandle): void {
    this.#handle = handle;
    this.#roster = new Roster(handle.board);
    const { timing, events } = this.#options;
    const { readyWithinMs } = timing;
    this.#loading = setTimeout(
      () => events.message(this, unfit(`not within ${readyWithinMs} ms`)),
      readyWithinMs,
    );
  }

  get kind(): MemberKind {
    return this.#options.kind;
  }

  get size(): number {
    return this.#roster.size;
  }

  get closed(): boolean {
    return this.#closed;
  }

  get #running(): ExecutorHandle {
    if (this.#handle === undefined) throw new Error('the executor was not started');
    return this.#handle;
  }

  find(token: string): Assignment | undefined {
    return this.#roster.find(token);
  }

  post(message: Parameters<ExecutorHandle['post']>[0]): void {
    if (!this.#dead) this.#running.post(message);
  }

  give(assignment: Assignment): void {
    // A thread or process of its own ends with its job.
    if (this.kind !== 'shared') this.#closed = true;
    this.#roster.add(assignment);
    this.post({ kind: 'run', place: assignment.place, attempt: assignment.attempt });
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
        this.#roster.take(message.token)?.settle(message.end);
        this.#endIfDone();
        return;
      case 'spoiled':
        this.#options.log.warn({ reason: message.reason }, 'executor_spoiled');
        this.close(this.#options.timing.drainMs, message.reason);
        return;
      default:
        clearTimeout(this.#loading);
        this.#loading = undefined;
        this.#options.events.message(this, message);
    }
  }

  /** The attempt's signal aborted: it is told, and has the grace to stop. */
  abort(assignment: Assignment): void {
    const { attempt, controller } = assignment;
    const reason: unknown = controller.signal.reason;
    if (this.#roster.claim(assignment)) {
      this.#roster.take(attempt.token);
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
      this.#options.events.again(this.#roster.withdraw());
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
      const jobs = this.#roster.jobIds;
      log.warn(
        { silentMs: Math.round(silentMs), jobs, signedBy: this.#roster.signer()?.attempt.jobId },
        'executor_blocked',
      );
      metrics.executorsBlocked.inc();
      this.close(undefined, 'its thread was blocked');
    }
    if (silentMs > timing.strandedAfterMs && this.#roster.size > 1) {
      void this.kill('killed', `its thread was blocked for ${Math.round(silentMs)} ms`);
    }
  }

  /** Ends it by force and settles what it had. */
  async kill(how: Kill['how'], text: string): Promise<void> {
    if (this.#dead) return;
    this.#dead = true;
    this.close(undefined, text);
    clearTimeout(this.#loading);
    clearTimeout(this.#drain);
    const { events, log, metrics, timing, applicationName } = this.#options;
    const left = this.#roster.list();
    const signedBy = this.#roster.signer()?.attempt.jobId;
    metrics.executorsKilled.inc({ how });
    log.warn({ how, text, jobs: this.#roster.jobIds, signedBy }, 'executor_killed');
    const gone = await Promise.race([
      this.#running.terminate().then(() => true),
      sleep(timing.terminateWithinMs, false),
    ]);
    // Its connections close with it; a statement that runs would be noticed by the server a second later.
    events
      .endSessions(applicationName)
      .catch((error: unknown) => log.warn({ error }, 'sessions_not_ended'));
    const kill: Kill = { how, text, alone: this.#wasAlone };
    settleKilled(left, kill, signedBy);
    this.#roster.clear();
    // A process that takes its time keeps no other one from ending.
    if (!gone && this.kind !== 'alone') events.wedged(text);
    events.idle(this);
  }

  /** Its code stopped by itself; before it had loaded, no handler is to blame. Of a process nobody can tell. */
  died({ how, text }: DeathCause): void {
    if (this.#loading === undefined || how === 'process') void this.kill(how, text);
    else this.#options.events.message(this, unfit(text));
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
    this.#served += 1;
    startDeadline(assignment);
  }

  /** The executor's own loop turned all through the grace, and the handler did not stop: it is to blame. */
  #ignored(token: string): void {
    const { log, timing } = this.#options;
    const assignment = this.find(token);
    if (assignment === undefined) return;
    if (this.kind !== 'shared') {
      void this.kill('killed', 'its handler did not stop when it was told to');
      return;
    }
    const { attempt, facts: handler, controller } = assignment;
    this.#roster.take(token);
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

  #endIfDone(): void {
    if (this.#roster.size === 0) this.#options.events.idle(this);
  }
}
