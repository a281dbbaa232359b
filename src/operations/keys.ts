/** Starting the rotation of encryption keys by an operator. */
import type { Sql, Tx } from '../db/connect.ts';
import { startRotation } from '../jobs/rotation.ts';
import type { StartedRotation } from '../jobs/rotation.ts';
import { performAct } from './audit.ts';
import type { Operator } from './audit.ts';

/** Starts the jobs that are missing; where all have been started before it is no act. */
export async function rotateKeysAs(
  sql: Sql | Tx,
  operator: Operator,
  { toVersion, reason }: { readonly toVersion: number; readonly reason?: string | undefined },
): Promise<StartedRotation> {
  return performAct(sql, operator, async (tx) => {
    const result = await startRotation(tx, toVersion, operator.name);
    const { jobIds, values } = result;
    if (jobIds.length === 0) return { result };
    const act = {
      act: 'keys_rotate',
      target: { toVersion },
      reason,
      affected: jobIds.length,
      jobIds,
      before: { valuesOfOtherVersions: values },
      after: { jobsStarted: jobIds.length },
    };
    return { result, act };
  });
}
