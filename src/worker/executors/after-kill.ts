/**
 * How attempts end whose executor was killed or died. Pure. After a kill nobody is judged but who was
 * alone: a blocked thread makes its neighbours late first, so blame by deadline is blame of the innocent.
 */
import { PurserError } from '../../errors.ts';
import type { AttemptEnd, BegunAttempt } from '../../jobs/attempts.ts';
import type { Assignment } from './assignment.ts';
import { endOfThrow, handedBack } from '../classify.ts';
import type { DeathCause, JobTypeFacts } from './protocol.ts';

/** Deaths alone after which a job is to blame. */
const maxLossesAlone = 3;
const againAfterMs = 2_000;

export interface Killed {
  readonly attempt: BegunAttempt;
  readonly facts: JobTypeFacts;
  /** Why its signal was aborted, if it was. */
  readonly reason: unknown;
}

export interface Kill {
  /** killed: by the supervisor, because it was blocked. left: only to be rid of what another job left behind. */
  readonly how: DeathCause['how'] | 'killed' | 'left';
  readonly text: string;
  /** Nobody else ever ran there. */
  readonly alone: boolean;
}

/** Not begun: no attempt, and nobody's fault. */
export const later = (reason: string, afterMs: number): AttemptEnd =>
  handedBack(reason, new Date(Date.now() + afterMs));

/** `signed`: whether the job's own code ran last; undefined when that is not known of anybody. */
export function endAfterKill(
  killed: Killed,
  kill: Kill,
  signed: boolean | undefined,
  now: Date,
): AttemptEnd {
  const { attempt, facts, reason } = killed;
  const judged = { attempt, handler: facts, now };
  if (reason instanceof PurserError && notItsFault.has(String(reason.details['class']))) {
    return endOfThrow(reason, judged);
  }
  if (kill.how === 'left') return handedBack(kill.text, now);
  if (!kill.alone) {
    // Who signed is the likely one, not the proven one: the others' second such end makes suspects of them.
    const blame = signed === false ? { lost: 'shared' as const } : { suspect: true };
    return { ...handedBack(kill.text, now), ...blame };
  }
  if (kill.how === 'process' || kill.how === 'ended') return lostAlone(attempt, kill.text, now);
  const thrown =
    kill.how === 'heap'
      ? new PurserError('out_of_memory', `${facts.type}: ${kill.text}`)
      : (reason ?? new PurserError('executor_killed', `${facts.type}: ${kill.text}`));
  return { ...endOfThrow(thrown, judged), suspect: true };
}

/** Settles all that an executor had. `signedBy`: the job whose code ran last, where that is known. */
export function settleKilled(
  left: readonly Assignment[],
  kill: Kill,
  signedBy: string | undefined,
): void {
  for (const { attempt, facts, controller, settle } of left) {
    const reason: unknown = controller.signal.reason;
    const signed = signedBy === undefined ? undefined : signedBy === attempt.jobId;
    settle(endAfterKill({ attempt, facts, reason }, kill, signed, new Date()));
  }
}

/** Reasons of the worker and of operators: they hold whatever else happened. */
const notItsFault: ReadonlySet<string> = new Set(['cancel', 'hand_back']);

function lostAlone(attempt: BegunAttempt, text: string, now: Date): AttemptEnd {
  const losses = attempt.isolatedCrashes + 1;
  const facts = { countsAttempt: false, suspect: true, lost: 'isolated' as const };
  if (losses < maxLossesAlone) {
    return {
      ...facts,
      toState: 'pending',
      scheduledFor: new Date(now.getTime() + againAfterMs),
      detail: { reason: `worker lost: ran alone, and ${text}`, lossesAlone: losses },
    };
  }
  const message = `what ran this job alone died ${losses} times; the last time ${text}`;
  return {
    ...facts,
    toState: 'dead_letter',
    error: { code: 'worker_lost', message },
    detail: { reason: 'worker lost', lossesAlone: losses },
  };
}
