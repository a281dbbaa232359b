/**
 * How the attempts of an executor end that was killed or crashed. Pure. Only a job that ran alone is blamed: a
 * blocked thread makes the other jobs in it miss their deadlines first, so a missed deadline proves nothing.
 */
import { PurserError } from '../../errors.ts';
import type { AttemptEnd, BegunAttempt } from '../../jobs/attempts.ts';
import { endOfThrow, handedBack } from '../classify.ts';
import type { Assignment } from './assignment.ts';
import type { DeathCause, JobTypeFacts } from './protocol.ts';

/** A job whose own process crashes so many times in a row becomes a dead letter. */
const maxIsolatedCrashes = 3;
const retryAfterMs = 2_000;

export interface KilledAttempt {
  readonly attempt: BegunAttempt;
  readonly facts: JobTypeFacts;
  /** Why its signal was aborted, if it was. */
  readonly abortReason: unknown;
  /** Whether its code ran last; undefined where that is not known of any job of the executor. */
  readonly ranLast: boolean | undefined;
  /** Its handler had returned, but how was not reported any more. */
  readonly hasEnded: boolean;
}

export interface Kill {
  /** killed: the supervisor ended it because it was blocked. retired: because of what another job left in it. */
  readonly how: DeathCause['how'] | 'killed' | 'retired';
  readonly text: string;
  /** No other job ever ran in this executor. */
  readonly alone: boolean;
}

/** Aborts by the worker or an operator: they decide the end, whatever else happened. */
const externalAbortClasses: ReadonlySet<string> = new Set(['cancel', 'hand_back']);

/** Ends every attempt that the executor had. */
export function endKilledAttempts(
  assignments: readonly Assignment[],
  kill: Kill,
  lastRunningJobId: string | undefined,
  table: { readonly hasEnded: (assignment: Assignment) => boolean },
): void {
  for (const assignment of assignments) {
    const { attempt, facts, abort, resolve } = assignment;
    const abortReason: unknown = abort.reason;
    const ranLast = lastRunningJobId === undefined ? undefined : lastRunningJobId === attempt.jobId;
    const killed = { attempt, facts, abortReason, ranLast, hasEnded: table.hasEnded(assignment) };
    resolve({ end: endAfterKill(killed, kill, new Date()) });
  }
}

export function endAfterKill(killed: KilledAttempt, kill: Kill, now: Date): AttemptEnd {
  const { abortReason } = killed;
  const wasAborted =
    abortReason instanceof PurserError &&
    externalAbortClasses.has(String(abortReason.details['class']));
  if (wasAborted) return endOfThrow(abortReason, factsFor(killed, now));
  // Code that a handler left running when it returned can block its thread, too.
  const isDone = killed.hasEnded && killed.ranLast !== true;
  if (kill.how === 'retired' || isDone) return handedBack(kill.text, 0);
  if (!kill.alone) return endAmongOthers(killed, kill);
  if (kill.how === 'process' || kill.how === 'ended') return endOfCrash(killed.attempt, kill);
  return endOfFailure(killed, kill, now);
}

/** The job that ran last probably did it: it runs alone next. The others do after a second such loss. */
function endAmongOthers({ ranLast }: KilledAttempt, kill: Kill): AttemptEnd {
  const end = handedBack(kill.text, 0);
  return ranLast === false ? { ...end, lost: 'shared' } : { ...end, suspect: true };
}

function endOfCrash(attempt: BegunAttempt, kill: Kill): AttemptEnd {
  const isolatedCrashes = attempt.isolatedCrashes + 1;
  const facts = { countsAttempt: false, suspect: true, lost: 'isolated' as const };
  if (isolatedCrashes < maxIsolatedCrashes) {
    return {
      ...facts,
      toState: 'pending',
      afterMs: retryAfterMs,
      detail: { reason: `worker lost: the job ran alone, and ${kill.text}`, isolatedCrashes },
    };
  }
  const message = `the process that ran this job alone crashed ${isolatedCrashes} times; the last time ${kill.text}`;
  return {
    ...facts,
    toState: 'dead_letter',
    error: { code: 'worker_lost', message },
    detail: { reason: 'worker lost', isolatedCrashes },
  };
}

/** It ran alone and blocked its executor or filled its heap: the attempt fails like any other. */
function endOfFailure(killed: KilledAttempt, kill: Kill, now: Date): AttemptEnd {
  const text = `${killed.facts.type}: ${kill.text}`;
  const thrown =
    kill.how === 'heap'
      ? new PurserError('out_of_memory', text)
      : (killed.abortReason ?? new PurserError('executor_killed', text));
  return { ...endOfThrow(thrown, factsFor(killed, now)), suspect: true };
}

const factsFor = ({ attempt, facts }: KilledAttempt, now: Date) => ({
  attempt,
  handler: facts,
  now,
});
