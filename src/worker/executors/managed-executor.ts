/**
 * One executor (a thread or a process) as the supervisor sees it. It loads its handlers, takes attempts while it is
 * open, drains when it is retired, and ends. Every attempt that is given to it ends once, or returns to the pool
 * before it has started.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { AssignmentTable } from './assignment-table.ts';
import { failAssignment, startDeadline, startGrace } from './assignment.ts';
import type { Assignment } from './assignment.ts';
import { endKilledAttempts } from './killed-attempts.ts';
import type { Kill } from './killed-attempts.ts';
import type { ExecutorKind, ManagedExecutorOptions } from './managed-executor-options.ts';
import { packError, unpackError } from './packed-errors.ts';
import { loadedTooLate, loadFailed } from './protocol.ts';
import type { DeathCause, FromExecutor, ToExecutor } from './protocol.ts';
import type { ExecutorHandle } from './spawn.ts';
import { terminate } from './stuck-thread.ts';

/** Longer than a turn of a healthy event loop: its messages should have arrived. */
const unreportedAfterMs = 200;

export class ManagedExecutor {
  readonly #options: ManagedExecutorOptions<ManagedExecutor>;
  readonly #handle: ExecutorHandle;
  readonly #assignments: AssignmentTable;
  /** draining: it takes no new attempts. ended: its code no longer runs, or is being terminated. */
  #phase: 'open' | 'draining' | 'ended' = 'open';
  #startedAttempts = 0;
  #foreignLogged = false;
  /** undefined once it has loaded. */
  #loadTimer: NodeJS.Timeout | undefined;
  #drainTimer: NodeJS.Timeout | undefined;

  constructor(options: ManagedExecutorOptions<ManagedExecutor>) {
    this.#options = options;
    this.#handle = options.spawn({
      message: (message) => this.#receive(message),
      died: (cause) => this.#died(cause),
    });
    this.#assignments = new AssignmentTable(this.#handle.claimTable);
    const { timing, handlersModule } = options;
    this.#loadTimer = setTimeout(() => {
      options.events.message(this, loadedTooLate(handlersModule, timing.readyWithinMs));
    }, timing.readyWithinMs);
  }

  get kind(): ExecutorKind {
    return this.#options.kind;
  }

  get size(): number {
    return this.#assignments.size;
  }

  get isOpen(): boolean {
    return this.#phase === 'open';
  }

  find(token: string): Assignment | undefined {
    return this.#assignments.find(token);
  }

  post(message: ToExecutor): void {
    if (this.#phase !== 'ended') this.#handle.post(message);
  }

  give(assignment: Assignment): void {
    // A thread or process for one job takes no second one.
    if (this.kind !== 'shared') this.#phase = 'draining';
    this.#assignments.add(assignment);
    const { slotIndex, attempt, lane } = assignment;
    this.post({ kind: 'run', slotIndex, laneId: lane?.laneId, attempt });
  }

  /** The attempt's signal aborted: an attempt that has started gets the grace to stop. */
  abort(assignment: Assignment): void {
    const { attempt, abort: source } = assignment;
    if (this.#assignments.claim(assignment)) {
      this.#fail(assignment, source.reason);
      return;
    }
    const reason = packError(source.reason);
    this.post({ kind: 'abort', token: attempt.token, reason });
    startGrace(assignment, {
      graceMs: this.#options.graceMs,
      recheckAfterMs: this.#options.timing.blockedAfterMs,
      heartbeatAgeMs: () => this.#handle.claimTable?.heartbeatAgeMs() ?? Infinity,
      onBlocked: () => {
        void this.kill('killed', `its thread was blocked (${attempt.jobType} had to stop)`);
      },
    });
  }

  /** It takes no new attempts, and ends when the last one has ended; with `killAfterMs` by then at the latest. */
  retire(reason: string, killAfterMs?: number): void {
    if (this.#phase === 'open') {
      this.#phase = 'draining';
      this.#options.events.reassign(this.#assignments.withdrawUnstarted());
    }
    if (killAfterMs !== undefined && this.#drainTimer === undefined && this.#phase !== 'ended') {
      this.#drainTimer = setTimeout(() => void this.kill('retired', reason), killAfterMs);
    }
    this.#reportIdle();
  }

  /** Takes back attempts that were given to it before, by performance.now(), and to which their lane did not come. */
  recall(givenBeforeMs: number): void {
    if (this.#assignments.recall(givenBeforeMs)) this.#reportIdle();
  }

  /** Retires a blocked thread, and kills it when several attempts wait for it. */
  checkHeartbeat(): void {
    const { timing, log, metrics } = this.#options;
    const silentMs = Math.round(this.#handle.claimTable?.heartbeatAgeMs() ?? 0);
    if (this.#phase === 'ended') return;
    if (silentMs >= unreportedAfterMs) this.#findStarts();
    if (this.kind !== 'shared' || silentMs < timing.blockedAfterMs) return;
    if (this.#phase === 'open') {
      const { jobIds: jobs, lastRunningJobId } = this.#assignments;
      log.warn({ silentMs, jobs, lastRunningJobId }, 'executor_blocked');
      metrics.executorsBlocked.inc();
      this.retire('its thread was blocked');
    }
    if (silentMs > timing.killBlockedAfterMs && this.#assignments.size > 1) {
      void this.kill('killed', `its thread was blocked for ${silentMs} ms`);
    }
  }

  /** Ends it by force, and the attempts that it had. */
  async kill(how: Kill['how'], text: string): Promise<void> {
    if (this.#phase === 'ended') return;
    const { events, log, metrics, timing, applicationName } = this.#options;
    const wasOpen = this.#phase === 'open';
    this.#end();
    if (wasOpen) events.reassign(this.#assignments.withdrawUnstarted());
    this.#findStarts();
    const left = this.#assignments.list();
    const { jobIds: jobs, lastRunningJobId } = this.#assignments;
    const alone = this.kind !== 'shared' || this.#startedAttempts <= 1;
    metrics.executorsKilled.inc({ how });
    log.warn({ how, text, jobs, lastRunningJobId }, 'executor_killed');
    const isTerminated = await terminate(this.#handle, timing.terminateWithinMs);
    // Its connections close with it, but the server would notice that only a second later.
    events.endSessions(applicationName).catch((error: unknown) => {
      log.warn({ error }, 'sessions_not_ended');
    });
    endKilledAttempts(left, { how, text, alone }, lastRunningJobId, this.#assignments);
    this.#assignments.clear();
    // A process that ends slowly disturbs no other one.
    if (!isTerminated && this.kind !== 'alone') events.threadStuck(text);
    events.idle(this);
  }

  /** Ends an executor without attempts in order: its pool closes first. */
  async stop(): Promise<void> {
    if (this.#phase === 'ended') return;
    this.post({ kind: 'stop' });
    this.#end();
    const { stopWithinMs, terminateWithinMs } = this.#options.timing;
    await Promise.race([this.#handle.ended, sleep(stopWithinMs)]);
    await terminate(this.#handle, terminateWithinMs);
  }

  #end(): void {
    this.#phase = 'ended';
    clearTimeout(this.#loadTimer);
    clearTimeout(this.#drainTimer);
  }

  #receive(message: FromExecutor): void {
    if (this.#phase === 'ended') return;
    const { events, timing, log, applicationName } = this.#options;
    switch (message.kind) {
      case 'started':
        return this.#started(this.find(message.token));
      case 'aborting':
        return this.find(message.token)?.abort.abort(unpackError(message.reason));
      case 'abort_ignored':
        return this.#abortIgnored(message.token);
      case 'ended':
        this.#options.events.message(this, message);
        return this.#ended(message);
      case 'foreign':
        if (!this.#foreignLogged)
          log.warn({ executor: applicationName }, 'foreign_message_ignored');
        this.#foreignLogged = true;
        return;
      case 'retire':
        log.warn({ reason: message.reason }, 'executor_retired');
        return this.retire(message.reason, timing.drainMs);
      case 'built_in_changed':
        events.message(this, message);
        return this.retire(`a handler changed ${message.property}`, timing.drainMs);
      default:
        clearTimeout(this.#loadTimer);
        this.#loadTimer = undefined;
        events.message(this, message);
    }
  }

  /** Its code ended unasked. While its handlers load, no attempt is the cause; of a process that is not known. */
  #died({ how, text }: DeathCause): void {
    if (this.#phase === 'ended') return;
    if (this.#loadTimer === undefined || how === 'process') void this.kill(how, text);
    else this.#options.events.message(this, loadFailed(this.#options.handlersModule, text));
  }

  #started(assignment: Assignment | undefined): void {
    if (assignment === undefined || assignment.started) return;
    this.#startedAttempts += 1;
    startDeadline(assignment);
  }

  #ended(message: Extract<FromExecutor, { readonly kind: 'ended' }>): void {
    const assignment = this.#assignments.remove(message.token);
    if (assignment?.started === false) this.#startedAttempts += 1;
    assignment?.resolve(message);
    this.#reportIdle();
  }

  #findStarts(): void {
    for (const assignment of this.#assignments.listUnreportedStarts()) this.#started(assignment);
  }

  /** The event loop ran all through the grace and the handler did not stop: the handler is to blame. */
  #abortIgnored(token: string): void {
    const assignment = this.find(token);
    if (assignment === undefined) return;
    if (this.kind !== 'shared') {
      void this.kill('killed', 'its handler did not stop when it was aborted');
      return;
    }
    const { jobId, jobType } = assignment.attempt;
    this.#options.log.warn({ jobId, jobType }, 'handler_still_running');
    this.#fail(assignment, assignment.abort.reason);
    const reason = `the handler of job ${jobId} did not stop when it was aborted`;
    this.retire(reason, this.#options.timing.drainMs);
  }

  #fail(assignment: Assignment | undefined, thrown: unknown): void {
    if (assignment === undefined) return;
    this.#assignments.remove(assignment.attempt.token);
    failAssignment(assignment, thrown);
    this.#reportIdle();
  }

  #reportIdle(): void {
    if (this.#assignments.size === 0) this.#options.events.idle(this);
  }
}
