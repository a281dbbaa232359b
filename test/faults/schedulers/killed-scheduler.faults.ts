/** `kill -9` of a scheduler inside the claim of due schedules: the others finish it, nobody is lost or doubled. */
import { expect, it } from 'vitest';
import { addJobType } from '../../jobs/job-steps.ts';
import { freshDatabase } from '../../support/database.ts';
import { keepProcess } from '../respawner.ts';
import { until } from '../until.ts';

const scheduled = 'fault_scheduled';
const gate = 4_711;
const rounds = 3;

it('2,000 due tenants, three schedulers, one killed inside a claim three times', async () => {
  const database = await freshDatabase();
  const { sql } = database;
  const env = {
    DATABASE_URL: database.url,
    LOG_LEVEL: 'warn',
    PURSER_BUILTINS: 'off',
  };
  await addJobType(sql, scheduled);
  await sql`insert into schedules (job_type, cohort, cron) values (${scheduled}, 'high_value', '0 0 1 1 *')`;
  // The claim of the row of the tenant `stop` waits where the test holds the gate, with all its rows locked.
  await sql.unsafe(`
    create function stop_here() returns trigger language plpgsql as $$
    begin
      if new.tenant_id like 'stop-%' then perform pg_advisory_xact_lock(${gate}); end if;
      return new;
    end $$;
    create trigger stop_here before insert on purser.ticks for each row execute function stop_here()`);
  const held = await sql.reserve();
  const kept = [await keepProcess('scheduler', env)];
  try {
    for (let round = 1; round <= rounds; round += 1) {
      await held`select pg_advisory_lock(${gate})`;
      await sql`
        insert into tenants (id, plan)
        select case when n = 100 then 'stop-' else 'due-' end || ${round}::int || '-' || n, 'pro'
        from generate_series(1, 2000) n`;
      await until('a claim to stop at the gate', async () => {
        const waiting = await sql`
          select from pg_locks where locktype = 'advisory' and objid = ${gate} and not granted`;
        return waiting.length > 0;
      });
      await kept[0]?.kill();
      if (kept.length === 1) {
        kept.push(await keepProcess('scheduler', env), await keepProcess('scheduler', env));
      }
      await held`select pg_advisory_unlock(${gate})`;
      await until('every tenant to have its job', async () => {
        const [row] = await sql<{ left: number }[]>`
          select count(*)::int as left from tenant_schedules where last_bucket is null and job_type = ${scheduled}`;
        return row?.left === 0;
      });
      const [row] = await sql`
        select count(*)::int as jobs, count(distinct tenant_id)::int as tenants,
          (select count(*)::int from schedule_ticks where outcome = 'job') as ticks,
          (select coalesce(sum(deduplicated), 0)::int from schedule_ticks) as deduplicated
        from jobs where job_type = ${scheduled}`;
      const tenants = 2_000 * round;
      expect(row).toEqual({ jobs: tenants, tenants, ticks: tenants, deduplicated: 0 });
    }
  } finally {
    held.release();
    for (const one of kept) await one.stop();
    await database.close();
  }
});
