/** The frequent queries use indexes, by Postgres's count of sequential scans. */
import { randomUUID } from 'node:crypto';
import postgres from 'postgres';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { releaseExpiredReservations } from '../../src/budget/expire.ts';
import { connect } from '../../src/db/connect.ts';
import type { Sql } from '../../src/db/connect.ts';
import { beginAttempts, finishAttempts, newToken } from '../../src/jobs/attempts.ts';
import { lookForWork } from '../../src/jobs/dispatch.ts';
import { listDeadLetters } from '../../src/jobs/dead-letters.ts';
import { countQueued, listOldQueued, returnToPending } from '../../src/jobs/queued.ts';
import { enqueue } from '../../src/jobs/enqueue.ts';
import { expireWaitingJobs, rescueLostAttempts, wakeParkedJobs } from '../../src/jobs/sweep.ts';
import { claimDueTenants } from '../../src/schedules/claim.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { addJobType, begin, claim, completed, step } from '../jobs/job-steps.ts';

/** Tables that grow; in_flight and parked are bounded and may be read from end to end. */
const hotTables = new Set([
  'jobs',
  'waiting',
  'later',
  'job_history',
  'dead_letters',
  'failures',
  'job_keys',
  'tenant_schedules',
  'llm_reservations',
]);

let test: TestDatabase;
let sql!: Sql;

beforeAll(async () => {
  test = await freshDatabase();
  // One session, so that its counters can be flushed before they are read.
  sql = connect(test.url, { max: 1, applicationName: 'purser test scans' });
  await addJobType(sql);
  await sql`insert into tenants (id, plan) select 'scan-' || n, 'pro' from generate_series(1, 500) n`;
  await sql`update tenant_schedules set next_due = now() + n * interval '1 minute'
    from (select id, row_number() over () as n from tenants) t where t.id = tenant_id`;
  await sql`
    insert into background_jobs (tenant_id, job_type, max_attempts, give_up_at, state, finished_at, error,
      needed_usd, dedup_key)
    select 'scan-' || 1 + n % 500, ${step}, 3, now() + interval '1 day', s.state,
           case when s.state in ('completed', 'dead_letter') then now() end, '{"code": "x"}', 1, n
    from generate_series(1, 20000) n
    cross join lateral (select case when n % 100 = 0 then 'parked' when n % 50 = 0 then 'dead_letter'
      when n % 10 = 0 then 'pending' else 'completed' end as state) s`;
  await sql`
    insert into job_keys select tenant_id, job_type, dedup_key, id, now() + interval '1 day' from background_jobs`;
  for (const table of [
    'jobs',
    'purser.waiting',
    'purser.parked',
    'purser.dead_letters',
    'job_keys',
    'tenant_schedules',
    'tenants',
  ]) {
    await sql.unsafe(`analyze ${table}`);
  }
}, 120_000);
afterAll(async () => {
  await sql.end({ timeout: 5 });
  await test.close();
});

async function scans(): Promise<Record<string, string>> {
  await sql`select pg_stat_force_next_flush()`;
  const rows = await sql<{ relname: string; seq_scan: string }[]>`
    select relname, seq_scan from pg_stat_user_tables
    where relname = any(${[...hotTables]})`;
  return Object.fromEntries(rows.map(({ relname, seq_scan }) => [relname, seq_scan]));
}

const hotOn = (sql: Sql): Record<string, () => Promise<unknown>> => ({
  'claim due': () => claimDueTenants(sql, { offsetMs: 600_000 }),
  dispatch: () => claim(sql, 8),
  begin: () =>
    beginAttempts(
      sql,
      [{ jobId: '17', entryId: randomUUID(), token: newToken('17') }],
      'worker',
      1_000,
    ),
  finish: () => finishAttempts(sql, [{ jobId: '17', token: newToken('17'), end: completed }]),
  'finish, not completed': () =>
    finishAttempts(sql, [
      { jobId: '17', token: newToken('17'), end: { ...completed, toState: 'cancelled' } },
    ]),
  'types with work': () => lookForWork(sql, 20),
  'a whole attempt': async () => {
    const [job] = await claim(sql, 1);
    if (job === undefined) throw new Error('not claimed');
    const attempt = await begin(sql, job);
    await finishAttempts(sql, [{ ...attempt, end: completed }]);
  },
  rescue: () => rescueLostAttempts(sql),
  expiry: () => expireWaitingJobs(sql),
  'waking the parked': () => wakeParkedJobs(sql),
  'old queued': () => listOldQueued(sql, 10_000),
  'room in the queues': () => countQueued(sql),
  'taking back': () =>
    returnToPending(sql, [{ jobId: '17', entryId: randomUUID() }], 'queue entry lost'),
  'dead letters': () => listDeadLetters(sql, { limit: 50 }),
  enqueue: () => enqueue(sql, { tenantId: 'scan-7', jobType: step, dedupKey: 'fresh' }),
  'expired holds': () => releaseExpiredReservations({ sql, limit: 100 }),
});

it.each(Object.keys(hotOn(sql)))('%s scans no table of jobs, keys or schedules', async (name) => {
  const before = await scans();
  await hotOn(sql)[name]?.();
  expect(await scans()).toEqual(before);
});

it('the count notices a scan', async () => {
  const before = await scans();
  await sql`select count(*) from jobs where payload ? 'nothing'`;
  expect(await scans()).not.toEqual(before);
});

type Parameter = postgres.ParameterOrJSON<never>;

/** Tables that a plan reads from end to end. */
function scannedBy(plan: Plan): string[] {
  const own = plan['Node Type'] === 'Seq Scan' ? [plan['Relation Name'] ?? ''] : [];
  return [...own, ...(plan.Plans ?? []).flatMap(scannedBy)].filter((name) => hotTables.has(name));
}
interface Plan {
  readonly 'Node Type': string;
  readonly 'Relation Name'?: string;
  readonly 'Index Name'?: string;
  readonly Plans?: readonly Plan[];
}
const indexesOf = (plan: Plan): string[] => [
  ...(plan['Index Name'] === undefined ? [] : [plan['Index Name']]),
  ...(plan.Plans ?? []).flatMap(indexesOf),
];

it('EXPLAIN of every statement that they send names an index, and no sequential scan', async () => {
  const sent: { text: string; parameters: Parameter[] }[] = [];
  const traced = postgres(test.url, {
    max: 1,
    onnotice: () => {},
    debug: (_, text, parameters: Parameter[]) => sent.push({ text, parameters }),
  });
  try {
    const used = new Set<string>();
    for (const [name, run] of Object.entries(hotOn(traced))) {
      sent.length = 0;
      await run();
      const statements = sent.filter(({ text }) =>
        /jobs|purser\.|job_keys|tenant_|llm_/.test(text),
      );
      for (const { text, parameters } of statements) {
        const [row] = await traced.unsafe<{ 'QUERY PLAN': { Plan: Plan }[] }[]>(
          `explain (format json) ${text}`,
          parameters,
        );
        const plan = row?.['QUERY PLAN'][0]?.Plan;
        if (plan === undefined) throw new Error(`no plan for ${name}`);
        expect({ name, scanned: scannedBy(plan) }).toEqual({ name, scanned: [] });
        for (const index of indexesOf(plan)) used.add(index);
      }
    }
    expect([...used]).toEqual(expect.arrayContaining(['ix_dead_letters_finished_at', 'jobs_pkey']));
  } finally {
    await traced.end({ timeout: 5 });
  }
});
