/** Records the costs that a reconciliation has decided: each once per evidence, so that a repetition changes nothing. */
import type { Sql } from '../../db/connect.ts';
import { isStoreUnavailable } from '../../db/store-errors.ts';
import { codeOf, messageOf } from '../../errors.ts';
import { resolveUnknown } from '../resolve.ts';
import type { Resolution } from './result.ts';

export interface Applied {
  readonly resolved: number;
  /** Calls whose cost was not recorded: each by itself, the others are. */
  readonly failed: readonly { readonly reservationId: string; readonly why: string }[];
}

/** Throws `store_unavailable`; what was recorded before stays, and the command can be repeated. */
export async function applyResolutions(
  sql: Sql,
  resolutions: readonly Resolution[],
  record: { readonly by: string; readonly reason: string },
): Promise<Applied> {
  const failed: { reservationId: string; why: string }[] = [];
  for (const { reservationId, costNanoUsd, evidence } of resolutions) {
    try {
      await resolveUnknown(sql, { reservationId, costNanoUsd, evidence, ...record });
    } catch (error) {
      if (isStoreUnavailable(error)) throw error;
      failed.push({ reservationId, why: `${codeOf(error)}: ${messageOf(error)}` });
    }
  }
  return { resolved: resolutions.length - failed.length, failed };
}
