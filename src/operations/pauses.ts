/** An operator's pauses of dispatch. */
import type { Sql, Tx } from '../db/connect.ts';
import { addPause, assertKnown, pauseWork, resumeWork } from '../jobs/pauses.ts';
import type { Pause, PauseAnswer, PauseTarget } from '../jobs/pauses.ts';
import { performAct, recordAct } from './audit.ts';
import type { Act, Operator } from './audit.ts';

/** How the record names a target. */
export function namesOf({
  scope,
  name,
}: PauseTarget): Pick<Act, 'tenantId' | 'jobType' | 'target'> {
  return {
    target: { scope },
    ...(scope === 'tenant' ? { tenantId: name } : {}),
    ...(scope === 'job_type' ? { jobType: name } : {}),
  };
}

export const valuesOf = ({ by, reason, at, stops }: Pause) => ({ by, reason, at, stops });

/**
 * Stops the dispatch of jobs. A pause of the same target is replaced, with its time: an act too. Throws as `pauseWork`.
 */
export async function pauseAs(
  sql: Sql,
  operator: Operator,
  { reason, ...target }: PauseTarget & { readonly reason: string },
): Promise<PauseAnswer> {
  const { scope, name } = target;
  const pause = { scope, name, reason, by: operator.name };
  return pauseWork(sql, pause, (tx, replaced) =>
    recordAct(tx, operator, pauseAct(target, reason, operator, replaced)),
  );
}

/**
 * As `pauseAs`, in the caller's transaction; returns the pause that it replaces. Claims that are open at its commit may still
 * dispatch what they have locked.
 */
export async function storePause(
  tx: Tx,
  operator: Operator,
  { reason, ...target }: PauseTarget & { readonly reason: string },
): Promise<Pause | undefined> {
  await assertKnown(tx, target);
  const replaced = await addPause(tx, { ...target, reason, by: operator.name, stops: false });
  await recordAct(tx, operator, pauseAct(target, reason, operator, replaced));
  return replaced;
}

const pauseAct = (
  target: PauseTarget,
  reason: string,
  { name: by }: Operator,
  replaced: Pause | undefined,
): Act => ({
  act: 'pause',
  ...namesOf(target),
  reason,
  before: replaced === undefined ? null : valuesOf(replaced),
  after: { by, reason },
});

/** Removes a pause and returns it; where there was none it is no act. Throws as `resumeWork`. */
export async function resumeAs(
  sql: Sql | Tx,
  operator: Operator,
  { reason, ...target }: PauseTarget & { readonly reason?: string | undefined },
): Promise<Pause | undefined> {
  return performAct(sql, operator, async (tx) => {
    const result = await resumeWork(tx, target);
    if (result === undefined) return { result };
    const act = {
      act: 'resume',
      ...namesOf(target),
      reason,
      before: valuesOf(result),
      after: null,
    };
    return { result, act };
  });
}
