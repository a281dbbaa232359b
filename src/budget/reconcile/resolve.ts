/** Records the costs that a reconciliation has decided: each once per evidence, so that a repetition changes nothing. */
import type { Sql, Tx } from '../../db/connect.ts';
import { isStoreUnavailable } from '../../db/store-errors.ts';
import { codeOf, messageOf } from '../../errors.ts';
import { resolveUnknown } from '../resolve.ts';
import type { Resolution as Resolved } from '../resolve.ts';
import type { Resolution } from './result.ts';

export interface Applied {
  readonly resolved: number;
  /** Calls whose cost was not recorded: each by itself, the others are. */
  readonly failed: readonly { readonly reservationId: string; readonly why: string }[];
}

/**
 * Throws `store_unavailable`; what was recorded before stays, and the command can be repeated. `record` is run in the
 * transaction of each resolution.
 */
export async function applyResolutions(
  sql: Sql,
  resolutions: readonly Resolution[],
  by: { readonly by: string; readonly reason: string },
  record?: (tx: Tx, resolution: Resolution, resolved: Resolved) => Promise<void>,
): Promise<Applied> {
  const failed: { reservationId: string; why: string }[] = [];
  for (const resolution of resolutions) {
    const { reservationId, costNanoUsd, evidence } = resolution;
    try {
      await sql.begin(async (tx) => {
        const resolved = await resolveUnknown(tx, {
          reservationId,
          costNanoUsd,
          evidence,
          ...by,
        });
        await record?.(tx, resolution, resolved);
      });
    } catch (error) {
      if (isStoreUnavailable(error)) throw error;
      failed.push({ reservationId, why: `${codeOf(error)}: ${messageOf(error)}` });
    }
  }
  return { resolved: resolutions.length - failed.length, failed };
}
