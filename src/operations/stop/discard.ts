/**
 * Ends the jobs of a target that have not begun, as cancelled, in bounded batches. Each batch and its record are one
 * transaction: what a process that dies has ended is on record, and the same call ends the rest.
 */
import type { Sql } from '../../db/connect.ts';
import type { PauseTarget } from '../../jobs/pauses.ts';
import { discardBatch } from '../../jobs/stop/stopped.ts';
import type { DiscardedBatch } from '../../jobs/stop/stopped.ts';
import { recordAct } from '../audit.ts';
import type { Operator } from '../audit.ts';
import { namesOf } from '../pauses.ts';

export interface DiscardRequest {
  readonly target: PauseTarget;
  readonly reason: string;
  /** Later jobs stay. */
  readonly upToId: string;
  /** Jobs that ran when they were stopped stay. */
  readonly sparedIds: readonly string[];
  /** Called after each batch with the number of ended jobs so far. */
  readonly onProgress?: (ended: number) => void;
}

/** A job that moved at the moment of its batch, or was locked, is met by the next pass. */
const maxPasses = 5;

/** Returns the number of ended jobs. */
export async function discardWaiting(
  sql: Sql,
  operator: Operator,
  { target, reason, upToId, sparedIds, onProgress }: DiscardRequest,
): Promise<number> {
  let total = 0;
  for (let pass = 0; pass < maxPasses; pass += 1) {
    const before = total;
    let afterId: string | undefined = '0';
    while (afterId !== undefined) {
      const range = { afterId, upToId, sparedIds };
      const batch: DiscardedBatch = await sql.begin(async (tx) => {
        const ended = await discardBatch(tx, target, range, { by: operator.name, reason });
        if (ended.jobIds.length > 0) {
          await recordAct(tx, operator, {
            act: 'stop_discard',
            ...namesOf(target),
            reason,
            affected: ended.jobIds.length,
            jobIds: ended.jobIds,
          });
        }
        return ended;
      });
      total += batch.jobIds.length;
      afterId = batch.lastId;
      onProgress?.(total);
    }
    if (total === before) break;
  }
  return total;
}
