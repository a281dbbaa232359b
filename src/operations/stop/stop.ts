/**
 * Stops work at once: a pause under which queued jobs go back to waiting and workers hand running ones back, without
 * counting the attempt. The pause is all that is stored of it, so that a resume undoes it, and no crash loses it.
 */
import type { Sql, Tx } from '../../db/connect.ts';
import { codeOf } from '../../errors.ts';
import { addPause, assertKnown, untilClaimsEnd } from '../../jobs/pauses.ts';
import type { Pause, PauseTarget } from '../../jobs/pauses.ts';
import { listInFlight, newestJobId, returnStopped } from '../../jobs/stop/stopped.ts';
import { recordAct } from '../audit.ts';
import type { Operator } from '../audit.ts';
import { namesOf, valuesOf } from '../pauses.ts';

export interface StopRequest {
  readonly target: PauseTarget;
  readonly reason: string;
}

export interface StopAnswer {
  /** The earlier pause or stop of the same target. */
  readonly replaced: Pause | undefined;
  /** Jobs that ran when it was stopped: their workers hand them back. */
  readonly runningIds: readonly string[];
  /** Queued jobs that went back to waiting. */
  readonly returned: number;
  /** false: a claim that began before the stop is still open; what it queues is returned by a sweep. */
  readonly claimsDrained: boolean;
  /** Jobs up to this id were there when it was stopped. */
  readonly newestId: string;
}

/** Throws `unknown_job_type` or `unknown_tenant`. Repeated, it returns what is queued again. */
export async function stopWork(
  sql: Sql,
  operator: Operator,
  { target, reason }: StopRequest,
): Promise<StopAnswer> {
  const stored = await sql
    .begin((tx) => storeStop(tx, operator, { target, reason }))
    .catch(async (error: unknown) => {
      // Its tenant or type was deleted at this moment.
      if (codeOf(error) === '23503') await assertKnown(sql, target);
      throw error;
    });
  return { ...stored, ...(await returnQueued(sql)) };
}

/** What follows the commit of a stop; a sweep does the same. */
export async function returnQueued(
  sql: Sql,
): Promise<Pick<StopAnswer, 'returned' | 'claimsDrained'>> {
  const returned = await returnStopped(sql);
  const claimsDrained = await untilClaimsEnd(sql);
  return { returned: returned + (await returnStopped(sql)), claimsDrained };
}

/** The stop itself, in the caller's transaction. Throws `unknown_job_type` or `unknown_tenant`. */
export async function storeStop(
  tx: Tx,
  operator: Operator,
  { target, reason }: StopRequest,
): Promise<Pick<StopAnswer, 'replaced' | 'newestId' | 'runningIds'> & { queued: number }> {
  await assertKnown(tx, target);
  const newestId = await newestJobId(tx);
  const replaced = await addPause(tx, { ...target, reason, by: operator.name, stops: true });
  const { running, queued } = await listInFlight(tx, target);
  await recordAct(tx, operator, {
    act: 'stop',
    ...namesOf(target),
    reason,
    affected: running.length + queued.length,
    jobIds: [...running, ...queued],
    before: replaced === undefined ? null : valuesOf(replaced),
    after: { by: operator.name, reason, running: running.length, queued: queued.length },
  });
  return { replaced, newestId, runningIds: running, queued: queued.length };
}
