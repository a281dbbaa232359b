/** An operator's acts on dead letters: each makes one new job, or leaves the list with a reason. */
import type { Sql, Tx } from '../db/connect.ts';
import { discardDeadLetter, replayDeadLetter } from '../jobs/dead-letters.ts';
import type { Replayed } from '../jobs/dead-letters.ts';
import { jobNamed } from './job-named.ts';
import { performAct } from './audit.ts';
import type { Operator } from './audit.ts';

const sourceOf = ({ door }: Operator): string => (door === 'board' ? 'bull_board' : door);

/** Replays a dead letter once; one that was replayed before is no act. Throws `not_a_dead_letter`. */
export async function replayAs(
  sql: Sql | Tx,
  operator: Operator,
  { jobId, reason }: { readonly jobId: string; readonly reason?: string | undefined },
): Promise<Replayed> {
  return performAct(sql, operator, async (tx) => {
    const by = { operator: operator.name, source: sourceOf(operator) };
    const result = await replayDeadLetter(tx, jobId, by);
    if (!result.created) return { result };
    const act = {
      act: 'replay',
      ...(await jobNamed(tx, jobId)),
      target: { jobId },
      reason,
      jobIds: [jobId, result.jobId],
      before: { replayedBy: null },
      after: { replayedBy: result.jobId },
    };
    return { result, act };
  });
}

/** Removes a dead letter from the list. Throws `not_a_dead_letter`, also where it was discarded before. */
export async function discardAs(
  sql: Sql | Tx,
  operator: Operator,
  { jobId, reason }: { readonly jobId: string; readonly reason: string },
): Promise<void> {
  return performAct(sql, operator, async (tx) => {
    const by = { operator: operator.name, source: sourceOf(operator), reason };
    await discardDeadLetter(tx, jobId, by);
    const act = {
      act: 'discard',
      ...(await jobNamed(tx, jobId)),
      target: { jobId },
      reason,
      jobIds: [jobId],
      before: { discarded: false },
      after: { discarded: true },
    };
    return { result: undefined, act };
  });
}
