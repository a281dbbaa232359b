/** A round of the sweep as a whole: whose clock judges, how much it takes back, and what a failing part keeps. */
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import type { Sql } from '../../src/db/connect.ts';
import { createMetrics } from '../../src/metrics.ts';
import { sweepOnce } from '../../src/scheduler/sweep-round.ts';
import type { SweepOptions } from '../../src/scheduler/sweep-round.ts';
import { addJobType, runningJob } from '../jobs/job-steps.ts';
import { silentLog } from '../support/llm-attempt.ts';
import { addTenant } from '../support/tenants.ts';
import { openFleet } from '../worker/fleet.ts';
import type { Fleet } from '../worker/fleet.ts';

let fleet: Fleet;
let tenantId: string;

beforeAll(async () => {
  fleet = await openFleet(undefined, false);
  await addJobType(fleet.test.sql);
});
beforeEach(async () => {
  tenantId = await addTenant(fleet.test.sql);
});
afterAll(() => fleet.close());

const sweep = (more: SweepOptions['more'] = [], sql: Sql = fleet.database.system) =>
  sweepOnce({
    sql,
    transport: fleet.transport,
    log: silentLog,
    metrics: createMetrics(),
    reconcileAfterMs: 10_000,
    more,
  });

it('takes over all jobs of dead workers, also more than one statement does', async () => {
  const { sql } = fleet.test;
  const { jobId } = await runningJob(sql, tenantId, {}, -1);
  const [made] = await sql<{ jobs: number }[]>`
    with more as (
      insert into background_jobs (tenant_id, job_type, state, attempt, max_attempts, give_up_at, lease_owner,
        started_at)
      select tenant_id, job_type, 'running', 1, 3, give_up_at, 'dead', now()
      from background_jobs cross join generate_series(1, 1200) where id = ${jobId}
      returning id
    )
    select count(*)::int as jobs from more`;
  expect(made?.jobs).toBe(1200);
  await sql`update purser.in_flight set expires_at = now() - interval '1 second'`;
  await sweep();
  const left = await sql`
    select from background_jobs where tenant_id = ${tenantId} and state <> 'pending'`;
  expect(left).toHaveLength(0);
});

it('a part that fails is reported, and the other parts run', async () => {
  const seen: string[] = [];
  const failing = { kind: 'failing', run: () => Promise.reject(new Error('cannot be done')) };
  const other = { kind: 'other', run: async () => seen.push('other') };
  await expect(sweep([failing, other])).rejects.toThrow('cannot be done');
  expect(seen).toEqual(['other']);
});

/** A text that only this statement has. */
const statements: Readonly<Record<string, RegExp>> = {
  'stuck sessions end': /'purser\.in_flight'::regclass/,
  'overdue transactions end': /t\.timeout_ms \+/,
  'blocking sessions end': /insert into purser\.broken_locks/,
  'lost attempts are rescued': /purser\.rescue_attempts\(/,
  'late jobs expire': /purser\.expire_waiting\(/,
  'expired holds end': /purser\.budget_expire\(/,
  'unknown holds are settled': /purser\.budget_assume\(/,
  'parked jobs wake': /purser\.wake_parked\(/,
  'expired keys are removed': /delete from public\.job_keys/,
  'counts are added up': /purser\.add_up_job_counts\(/,
  'what was spent is added up': /purser\.add_up_spend\(/,
  'the fleet is sampled': /purser\.begin_sample\(/,
  'old heartbeats are removed': /delete from (?:public\.)?heartbeats/,
  'lost entries are found': /order by random\(\) limit 1000/,
};

// Some of them act on what is a minute old, so that no test of a round meets their work.
it('a round runs every statement of the sweep', async () => {
  const texts: string[] = [];
  const noting = new Proxy(fleet.database.system, {
    apply: (sql, self, args: readonly unknown[]) => {
      if (Array.isArray(args[0])) texts.push(args[0].join('?'));
      return Reflect.apply(sql, self, args) as unknown;
    },
  });
  await sweep([], noting);
  const missing = Object.keys(statements).filter(
    (name) => !texts.some((text) => statements[name]?.test(text)),
  );
  expect(missing).toEqual([]);
});
