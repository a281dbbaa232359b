/** Records the costs that a reconciliation has decided: each once per evidence, so that a repetition changes nothing. */
import type { Sql } from '../../db/connect.ts';
import { isStoreUnavailable } from '../../db/store-errors.ts';
import { codeOf, messageOf } from '../../errors.ts';
import { formatUsd } from '../money.ts';
import { recordUsage } from '../settle.ts';
import type { Resolution } from './result.ts';

export interface ResolveRequest {
  readonly reservationId: string;
  readonly costNanoUsd: bigint;
  readonly evidence: string;
  readonly by?: string;
  readonly reason?: string;
}

/** Ends an unknown hold at the cost that evidence shows. Throws where it cannot. */
export type Resolve = (sql: Sql, request: ResolveRequest) => Promise<unknown>;

/** Settles the hold at the provider's figure, as one item. */
export const settleAtCharge: Resolve = (sql, { reservationId, costNanoUsd }) =>
  recordUsage(sql, {
    reservationId,
    items: [{ class: 'provider_charge', count: 1, usd: formatUsd(costNanoUsd), per: 1 }],
  });

export interface Applied {
  readonly resolved: number;
  /** Calls whose cost was not recorded: each by itself, the others are. */
  readonly failed: readonly { readonly reservationId: string; readonly why: string }[];
}

/** Throws `store_unavailable`; what was recorded before stays, and the command can be repeated. */
export async function applyResolutions(
  sql: Sql,
  resolutions: readonly Resolution[],
  record: { readonly resolve: Resolve; readonly by: string; readonly reason: string },
): Promise<Applied> {
  const failed: { reservationId: string; why: string }[] = [];
  const { resolve, by, reason } = record;
  for (const { reservationId, costNanoUsd, evidence } of resolutions) {
    try {
      await resolve(sql, { reservationId, costNanoUsd, evidence, by, reason });
    } catch (error) {
      if (isStoreUnavailable(error)) throw error;
      failed.push({ reservationId, why: `${codeOf(error)}: ${messageOf(error)}` });
    }
  }
  return { resolved: resolutions.length - failed.length, failed };
}
