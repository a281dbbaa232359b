/** An operator's acts on what calls have cost: by evidence, and by a provider's file. */
import { formatUsd } from '../../budget/money.ts';
import { applyResolutions } from '../../budget/reconcile/resolve.ts';
import type { Applied } from '../../budget/reconcile/resolve.ts';
import type { Resolution as Decision } from '../../budget/reconcile/result.ts';
import { resolveUnknown } from '../../budget/resolve.ts';
import type { Resolution, ResolveRequest } from '../../budget/resolve.ts';
import type { Queryable, Sql, Tx } from '../../db/connect.ts';
import { performAct, recordAct } from '../audit.ts';
import type { Act, Operator } from '../audit.ts';

interface Resolved {
  readonly reservationId: string;
  readonly costNanoUsd: bigint;
  readonly evidence: string;
}

/** undefined: the cost was recorded before. */
async function actOf(
  tx: Queryable,
  act: string,
  { reservationId, costNanoUsd, evidence }: Resolved,
  { outcome, beforeNanoUsd }: Resolution,
): Promise<Act | undefined> {
  if (outcome === 'unchanged' || outcome === 'repeated') return undefined;
  const [call] = await tx<{ tenantId: string; jobId: string | null }[]>`
    select tenant_id as "tenantId", job_id::text as "jobId" from llm_reservations
    where id = ${reservationId}::uuid`;
  return {
    act,
    tenantId: call?.tenantId,
    target: { reservationId, evidence },
    jobIds: typeof call?.jobId === 'string' ? [call.jobId] : [],
    before: { costUsd: beforeNanoUsd === undefined ? null : formatUsd(beforeNanoUsd) },
    after: { costUsd: formatUsd(costNanoUsd), outcome },
  };
}

/** A cost that was recorded before is no act. Throws as `resolveUnknown`. */
export async function resolveAs(
  sql: Sql | Tx,
  operator: Operator,
  request: Pick<ResolveRequest, 'reservationId' | 'costNanoUsd' | 'evidence' | 'items'> & {
    readonly reason: string;
  },
): Promise<Resolution> {
  return performAct(sql, operator, async (tx) => {
    const result = await resolveUnknown(tx, { ...request, by: operator.name });
    const act = await actOf(tx, 'budget_resolve', request, result);
    return { result, act: act === undefined ? undefined : { ...act, reason: request.reason } };
  });
}

/** One act for each call whose cost changes. Throws as `applyResolutions`. */
export async function reconcileAs(
  sql: Sql,
  operator: Operator,
  { decisions, reason }: { readonly decisions: readonly Decision[]; readonly reason: string },
): Promise<Applied> {
  const record = { by: operator.name, reason };
  return applyResolutions(sql, decisions, record, async (tx, decision, resolved) => {
    const act = await actOf(tx, 'budget_reconcile', decision, resolved);
    if (act !== undefined) await recordAct(tx, operator, { ...act, reason });
  });
}
