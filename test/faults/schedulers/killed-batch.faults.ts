/** `kill -9` of a scheduler inside a step of a batch: the others go on with the batch, and no job is replayed twice. */
import { expect, it } from 'vitest';
import { startBatch } from '../../../src/operations/batches/acts.ts';
import { batchOf } from '../../../src/operations/batches/batch.ts';
import { previewBatch } from '../../../src/operations/batches/preview.ts';
import { addJobType, step } from '../../jobs/job-steps.ts';
import { freshDatabase } from '../../support/database.ts';
import { addTenant } from '../../support/tenants.ts';
import { alice } from '../../operations/batches/batch-database.ts';
import { keepProcess } from '../respawner.ts';
import { until } from '../until.ts';

const gate = 4_712;
const count = 2_000;

it('a batch of 2,000 replays, whose scheduler is killed three times inside a step', async () => {
  const database = await freshDatabase();
  const { sql } = database;
  const env = { DATABASE_URL: database.url, LOG_LEVEL: 'warn', PURSER_BUILTINS: 'off' };
  await addJobType(sql);
  const tenantId = await addTenant(sql);
  await sql`
    with made as (
      insert into jobs (tenant_id, job_type, max_attempts, outcome, error, finished_at)
      select ${tenantId}, ${step}, 1, 'dead_letter', '{"code": "boom"}', now() from generate_series(1, ${count}::int)
      returning id
    )
    insert into purser.dead_letters (job_id, tenant_id, finished_at, job_type, attempt, error_code, fingerprint, ended_by, words)
    select m.id, ${tenantId}, now(), ${step}, 1, 'boom', '0-0000000000000000', 'fatal', '' from made m`;
  // Every 500th replay waits where the test holds the gate, in the middle of a step.
  await sql.unsafe(`
    create function stop_here() returns trigger language plpgsql as $$
    begin
      if new.replay_of % 500 = 7 then perform pg_advisory_xact_lock_shared(${gate}); end if;
      return new;
    end $$;
    create trigger stop_here before insert on public.jobs for each row execute function stop_here()`);
  const held = await sql.reserve();
  const kept = [await keepProcess('scheduler', env)];
  try {
    const { batchId } = await previewBatch(sql, alice, { act: 'replay', filter: { tenantId } });
    await held`select pg_advisory_lock(${gate})`;
    await startBatch(sql, alice, { batchId, perSecond: 1_000, reason: 'test' });
    for (let kills = 1; kills <= 3; kills += 1) {
      await until('a step to stop at the gate', async () => {
        const waiting = await sql`
          select from pg_locks where locktype = 'advisory' and objid = ${gate} and not granted`;
        return waiting.length > 0;
      });
      const { done } = await batchOf(sql, batchId);
      for (const one of kept) await one.kill();
      // A killed step is undone as a whole, once its session meets the closed connection or its lock timeout.
      expect((await batchOf(sql, batchId)).done).toBeGreaterThanOrEqual(done);
      if (kept.length === 1) kept.push(await keepProcess('scheduler', env));
      await held`select pg_advisory_unlock(${gate})`;
      await until('the batch to go on', async () => (await batchOf(sql, batchId)).done > done);
      if (kills < 3) await held`select pg_advisory_lock(${gate})`;
    }
    await until(
      'the batch to end',
      async () => (await batchOf(sql, batchId)).state === 'completed',
    );
    expect(await batchOf(sql, batchId)).toMatchObject({ members: count, done: count, skipped: 0 });
    const [row] = await sql`
      select count(*)::int as replays, count(distinct replay_of)::int as originals,
        (select count(*)::int from purser.dead_letters) as listed
      from jobs where replay_of is not null`;
    expect(row).toEqual({ replays: count, originals: count, listed: 0 });
    const ends = await sql`select from operator_acts where act = 'batch_end'`;
    expect(ends).toHaveLength(1);
  } finally {
    held.release();
    for (const one of kept) await one.stop();
    await database.close();
  }
});
