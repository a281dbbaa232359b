/** Jobs that wait in a healthy queue behind long ones are dispatched once, however long they wait. */
import { expect, it } from 'vitest';
import { describeOnRedis } from '../support/redis.ts';
import { allCompleted } from './auditor.ts';
import type { Audit } from './auditor.ts';
import { say } from './figures.ts';
import { onStage } from './fleet.ts';
import type { BackendKind, Stage } from './fleet.ts';
import { outageWaitMs, together, until } from './until.ts';

const slots = 2;
const jobs = 3 * slots;
const runMs = 60_000;
const endWithinMs = (jobs / slots) * runMs + outageWaitMs;

/** The entries of each job, as seen until all have ended, and the longest time that one of them waited. */
async function watchEntries(stage: Stage, ids: readonly string[]) {
  const entries = new Map<string, Set<string>>();
  let waitedS = 0;
  const ended = async () => {
    const seen = await stage.sql<{ job_id: string; entry_id: string; waited: number }[]>`
      select job_id, entry_id, extract(epoch from coalesce(started_at, now()) - queued_at)::float8 as waited
      from purser.in_flight where job_id = any(${[...ids]}::bigint[])`;
    for (const { job_id: id, entry_id: entry, waited } of seen) {
      entries.set(id, (entries.get(id) ?? new Set()).add(entry));
      waitedS = Math.max(waitedS, waited);
    }
    const [open] = await stage.sql`
      select from background_jobs where id = any(${[...ids]}::bigint[]) and state <> 'completed' limit 1`;
    return open === undefined;
  };
  await until('all jobs to end', ended, endWithinMs);
  return { counts: [...entries.values()].map((each) => each.size), waitedS };
}

async function play(backend: BackendKind): Promise<Audit> {
  return onStage({ backend }, async (stage) => {
    await stage.keepScheduler();
    await stage.keepWorker({ WORKER_CONCURRENCY: String(slots) });
    const ids = await stage.enqueue(
      'fault_work',
      Array.from({ length: jobs }, () => ({ ms: runMs })),
    );
    const { counts, waitedS } = await watchEntries(stage, ids);
    say(
      `${backend}: ${jobs} jobs of 60 s in ${slots} slots; longest wait in a queue ${waitedS.toFixed(0)} s`,
    );
    expect(counts).toEqual(ids.map(() => 1));
    // Longer than the sweep lets an entry be without a look at it, or the test would show nothing.
    expect(waitedS).toBeGreaterThan(30);
    return stage.audit();
  });
}

describeOnRedis('jobs two deep behind long ones', () => {
  it('are dispatched once, with queues in either store', async () => {
    const audited = await together([play('redis'), play('postgres')]);
    expect(audited).toEqual([allCompleted(jobs), allCompleted(jobs)]);
  });
});
