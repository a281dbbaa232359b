/** One attempt that was given to an executor: its one end, and the timers of its deadline and of its grace. */
import type { AbortSource } from './abort-source.ts';
import { JobTimeoutError } from '../../errors.ts';
import type { AttemptEnd, BegunAttempt } from '../../jobs/attempts.ts';
import { endOfThrow } from '../classify.ts';
import type { JobTypeFacts } from './protocol.ts';

export interface Outcome {
  readonly end: AttemptEnd;
  /** Milliseconds since its start, as far as it had started. */
  readonly runMs?: number;
}

/** Attempts of one lane run one after another, in one thread. */
export interface Lane {
  readonly laneId: number;
  /** Of the first one. */
  executor?: { readonly isOpen: boolean; give(assignment: Assignment): void };
}

let lastLaneId = 0;

export function newLane(): Lane {
  lastLaneId += 1;
  return { laneId: lastLaneId };
}

export interface Assignment {
  readonly attempt: BegunAttempt;
  readonly facts: JobTypeFacts;
  /** Aborts at the deadline, and when the worker stops the attempt. */
  readonly abort: AbortSource;
  readonly lane: Lane | undefined;
  /** By performance.now(). */
  readonly givenAtMs: number;
  /** Ends the attempt; only the first call counts. undefined: its lane did not come to it, so it has not started. */
  readonly resolve: (outcome: Outcome | undefined) => void;
  /** Of the executor that it was given to last. */
  slotIndex: number;
  started: boolean;
  /** When that was heard, by performance.now(). */
  startedAtMs: number;
  /** Called once, when it is over. */
  onOver: Set<() => void> | undefined;
  /** `resolve` was called. */
  isOver: boolean;
  /** Before the abort the deadline, after it the grace. */
  timer: NodeJS.Timeout | undefined;
}

/** `onOutcome` is called once. */
export function createAssignment(
  given: Pick<Assignment, 'attempt' | 'facts' | 'abort' | 'lane'>,
  onOutcome: (outcome: Outcome | undefined) => void,
): Assignment {
  const { attempt, facts, abort, lane } = given;
  const assignment: Assignment = {
    attempt,
    facts,
    abort,
    lane,
    givenAtMs: performance.now(),
    slotIndex: 0,
    started: false,
    startedAtMs: 0,
    onOver: undefined,
    isOver: false,
    timer: undefined,
    resolve: (outcome) => {
      clearTimeout(assignment.timer);
      if (assignment.isOver) return;
      assignment.isOver = true;
      for (const listener of assignment.onOver ?? []) listener();
      const isTimed = outcome === undefined || outcome.runMs !== undefined || !assignment.started;
      onOutcome(
        isTimed ? outcome : { ...outcome, runMs: performance.now() - assignment.startedAtMs },
      );
    },
  };
  return assignment;
}

/** Ends it as if its handler had thrown `thrown`. */
export function failAssignment({ attempt, facts, resolve }: Assignment, thrown: unknown): void {
  resolve({ end: endOfThrow(thrown, { attempt, handler: facts, now: new Date() }) });
}

/** The attempt started: its type's timeout counts from now. */
export function startDeadline(assignment: Assignment): void {
  const { abort, facts } = assignment;
  assignment.started = true;
  assignment.startedAtMs = performance.now();
  if (abort.aborted) return;
  assignment.timer = setTimeout(
    () => abort.abort(new JobTimeoutError(facts.type, facts.timeoutMs)),
    facts.timeoutMs,
  );
}

export interface Grace {
  readonly graceMs: number;
  /** Time between the first check and the second. */
  readonly recheckAfterMs: number;
  /** Infinity where it is not known. */
  readonly heartbeatAgeMs: () => number;
  /** The executor has neither ended the attempt nor reported that its handler ignores the abort. */
  readonly onBlocked: () => void;
}

/** Several heartbeats are missing: more than a busy machine causes. */
const blockedHeartbeatAgeMs = 500;

/** The attempt was aborted: checks its executor when the grace is over, and once more unless it is clearly blocked. */
export function startGrace(assignment: Assignment, grace: Grace): void {
  const check = (isRecheck: boolean): void => {
    if (isRecheck || grace.heartbeatAgeMs() >= blockedHeartbeatAgeMs) grace.onBlocked();
    else assignment.timer = setTimeout(check, grace.recheckAfterMs, true);
  };
  clearTimeout(assignment.timer);
  assignment.timer = setTimeout(check, grace.graceMs, false);
}
