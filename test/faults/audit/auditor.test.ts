/** The auditor itself: each fault is planted, and exactly the finders that it concerns report it. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Queryable } from '../../../src/db/connect.ts';
import { rescueLostAttempts } from '../../../src/jobs/sweep.ts';
import { addJob, addJobType, finish, runningJob } from '../../jobs/job-steps.ts';
import { emptyDatabase, freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { addTenant } from '../../support/tenants.ts';
import { finders, lostJobs, makeAuditable, staleLeases } from '../auditor.ts';
import type { Finder } from '../auditor.ts';
import { until } from '../until.ts';
import { keepAuditing } from './continuous.ts';
import type { ContinuousAudit } from './continuous.ts';

let test: TestDatabase;
const accepted = ['1', '2', '3', '4', '5'];
const leaseMs = 3_600_000;
const staleMs = 60_000;

/** Job 1 has completed with an effect, 2 is a dead letter, 3 runs, 4 was taken over from a dead worker, 5 waits. */
beforeAll(async () => {
  test = await freshDatabase();
  const { sql } = test;
  await makeAuditable(sql);
  await addJobType(sql);
  const tenantId = await addTenant(sql);
  const addEffect = (jobId: string, kind: string) => sql`
    insert into fault_effects (tenant_id, job_id, attempt, token, kind)
    select tenant_id, job_id, attempt, token, ${kind} from purser.in_flight where job_id = ${jobId}`;
  const done = await runningJob(sql, tenantId, { payload: { completes: true } });
  await addEffect(done.jobId, 'completion');
  await finish(sql, done);
  const dead = await runningJob(sql, tenantId);
  await finish(sql, dead, { toState: 'dead_letter', error: { code: 'broken', message: 'broke' } });
  const runs = await runningJob(sql, tenantId, {}, leaseMs);
  const lost = await runningJob(sql, tenantId, {}, leaseMs);
  await addEffect(lost.jobId, 'begun');
  await sql`update purser.in_flight set expires_at = now() - interval '1 s' where job_id = ${lost.jobId}`;
  await rescueLostAttempts(sql);
  const waits = await addJob(sql, tenantId);
  const ids = [...[done, dead, runs, lost].map(({ jobId }) => jobId), waits];
  if (ids.join() !== accepted.join()) throw new Error(`the jobs are ${ids.join()}`);
});
afterAll(() => test.close());

/** What all finders say, each with its name. */
async function findings(sql: Queryable): Promise<string[]> {
  const all: Record<string, Finder> = {
    ...finders,
    lostJobs: (asked) => lostJobs(asked, accepted),
    staleLeases: (asked) => staleLeases(asked, staleMs, new Date(0)),
  };
  const found: string[] = [];
  for (const [name, find] of Object.entries(all)) {
    found.push(...(await find(sql)).map(({ fault }) => `${name}: ${fault}`));
  }
  return found;
}

const undone = new Error('the planted fault is taken back');

/** What the finders say of a planted fault and did not say before. */
async function reported(statements: string): Promise<string[]> {
  let news: string[] = [];
  await test.sql
    .begin(async (tx) => {
      const before = await findings(tx);
      await tx.unsafe(statements);
      news = (await findings(tx)).filter((fault) => !before.includes(fault));
      throw undone;
    })
    .catch((error: unknown) => {
      if (error !== undone) throw error;
    });
  return news.toSorted();
}

/** The first columns of an open job's row. */
const row = (jobId: number) =>
  '(job_id, tenant_id, job_type, priority, scheduled_for, give_up_at) values ' +
  `(${jobId}, 'tenant-1', 'test_step', 0, now(), now())`;

const history = (jobId: number, from: string, to: string) =>
  'insert into purser.job_history (job_id, tenant_id, from_state, to_state, attempt) values ' +
  `(${jobId}, 'tenant-1', ${from}, '${to}', 0);`;

/** An effect of job 1 in the middle of its attempt. */
const effect = (kind: string, token: string) =>
  'insert into fault_effects (tenant_id, job_id, attempt, token, kind, at) ' +
  `select tenant_id, job_id, 1, ${token}, '${kind}', at from fault_effects where id = 1; `;

/** An operator's door with the token of an ended attempt. */
const door = (table: string, jobId: number) =>
  'insert into purser.operator_tokens (token, tenant_id, expires_at) ' +
  `select token, tenant_id, now() + interval '1 hour' from ${table} where job_id = ${jobId}`;

const opened = (jobId: number): string[] =>
  ['commit_fence', 'current_tenant'].map(
    (what) => `openedByOldTokens: ${what} takes the token of an ended attempt of job ${jobId}`,
  );

const leaseEnded = (ago: string) =>
  `update purser.in_flight set expires_at = clock_timestamp() - interval '${ago}' where job_id = 3`;
const inTwoTables = 'insert into purser.later select * from purser.waiting where job_id = 5';
const path1 = 'illegalPaths: job 1 has the path pending > queued > running > completed';
const path2 = 'illegalPaths: job 2 has the path pending > queued > running > dead_letter > queued';
const path5 = 'illegalPaths: job 5 has the path pending';

it('jobs that have not ended are reported as that and as nothing else', async () => {
  expect(await findings(test.sql)).toEqual([
    'unended: job 3 (test_step) has not ended: running {"worker": "worker-1"}',
    expect.stringMatching(/^unended: job 4 .* has not ended: pending .*worker lost/),
    'unended: job 5 (test_step) has not ended: pending {}',
  ]);
});

it.each<[string, ...string[]]>([
  [inTwoTables, 'misplaced: job 5 (open) stands in later and waiting'],
  [
    'delete from purser.waiting where job_id = 5',
    // In no table, nobody sees it any more.
    'lostJobs: job 5 was accepted and is not there',
    'misplaced: job 5 (open) stands in no table',
  ],
  [`insert into purser.waiting ${row(999)}`, 'misplaced: job 999 (deleted) stands in waiting'],
  [
    `insert into purser.in_flight ${row(2)}`,
    `${path2}, and its row says dead_letter`,
    `${path2}, and its row says queued`,
    'leftOpen: job 2 has ended and is still in flight',
    'misplaced: job 2 (dead_letter) stands in in_flight',
    'unended: job 2 (test_step) has not ended: queued {}',
  ],
  [
    `insert into purser.dead_letters values (1, 'tenant-1', now(), 'test_step', 1, 'broken', '1-0', 'fatal', '')`,
    'misplaced: job 1 is listed as a dead letter',
  ],
  ['delete from jobs where id = 2', 'lostJobs: job 2 was accepted and is not there'],
  [leaseEnded('30 s')],
  [
    leaseEnded('61 s'),
    expect.stringMatching(/^staleLeases: job 3 is still held by worker-1, whose lease ended/),
  ],
  [
    history(5, `'pending'`, 'parked') + history(5, `'parked'`, 'pending'),
    `${path5} > parked > pending, and its row says pending`,
  ],
  [history(5, `'parked'`, 'pending'), `${path5} > pending, and its row says pending`],
  [history(1, 'null', 'completed'), `${path1} > completed, and its row says completed`],
  [
    'update purser.waiting set failed = true where job_id = 5',
    `${path5}, and its row says failed`,
    'unended: job 5 (test_step) has not ended: failed {}',
  ],
  [
    `insert into purser.job_counts values ('test_step', 'completed', 1)`,
    'miscounted: test_step completed: 2 counted, 1 there',
  ],
  [
    `delete from purser.job_counts where outcome = 'completed'`,
    'miscounted: test_step completed: 0 counted, 1 there',
  ],
  ['update jobs set attempt = 4 where id = 1', 'overrunAttempts: job 1 is at attempt 4 of 3'],
  [
    `${effect('late', 'token')} update fault_effects set at = now() where kind = 'late'`,
    'wrongEffects: job 1 has the effect late of a stale attempt',
  ],
  [
    effect('twice', 'token') + effect('twice', 'token'),
    'wrongEffects: job 1 has the effect twice 2 times under one token',
  ],
  [
    effect('completion', 'gen_random_uuid()'),
    'wrongEffects: job 1 (completed) has 2 effects of its completion',
  ],
  [
    'delete from fault_effects where job_id = 1',
    'wrongEffects: job 1 (completed) has 0 effects of its completion',
  ],
  [door('purser.job_history', 1), ...opened(1)],
  [door('fault_effects', 4), ...opened(4)],
  [
    'alter table purser.job_history disable trigger append_only; ' +
      'update purser.job_history set token = null where job_id = 1',
    'openedByOldTokens: job 1 has completed without a token',
  ],
])('after %s', async (statements, ...faults) => {
  expect(await reported(statements)).toEqual(faults);
});

it('the token of a running attempt opens both doors, by the statement that tries the old ones', async () => {
  const tried = await test.sql`
    select purser.job_of_token(token) as id, opened from public.opened_by(array(
      select token from purser.in_flight union all select token from fault_effects
      union all select token from purser.job_history where token is not null)) order by opened`;
  expect([...tried]).toEqual([
    { id: '3', opened: 'commit_fence' },
    { id: '3', opened: 'current_tenant' },
  ]);
  // What is no token is refused before it is asked whose it is: that is no answer.
  await expect(test.sql`select public.opened_by(array[null]::uuid[])`).rejects.toThrow('no tenant');
});

describe('the continuous audit', () => {
  const watch = async (
    options: { url?: string; staleLeaseMs?: number },
    act: (audit: ContinuousAudit) => Promise<void>,
  ) => {
    const audit = keepAuditing(options.url ?? test.url, { ...options, everyMs: 10 });
    try {
      await act(audit);
    } finally {
      await audit.stop();
    }
    return audit.seen();
  };
  const untilFault = (audit: ContinuousAudit) =>
    until('a fault', async () => audit.seen().faults.length > 0);

  it('remembers a fault of a moment, and saw none before it', async () => {
    const { faults } = await watch({}, async (audit) => {
      await until('some looks', async () => audit.seen().looks > 2);
      expect(audit.seen().faults).toEqual([]);
      await test.sql.unsafe(inTwoTables);
      await untilFault(audit);
      await test.sql`delete from purser.later where job_id = 5`;
    });
    expect(faults).toEqual(['job 5 (open) stands in later and waiting']);
  });

  it('finds a stale lease when the database has answered for as long', async () => {
    await test.sql.unsafe(leaseEnded('1 hour'));
    const { faults, looks } = await watch({ staleLeaseMs: 300 }, untilFault);
    expect(faults).toEqual([expect.stringContaining('job 3 is still held by worker-1')]);
    expect(looks).toBeGreaterThan(1);
  });

  it('only skips looks at a database that is away, but fails where it cannot look', async () => {
    const away = new URL(test.url);
    away.port = '1';
    const seen = await watch({ url: away.href }, (audit) =>
      until('looks in vain', async () => audit.seen().missed > 0),
    );
    expect(seen).toMatchObject({ looks: 0, faults: [] });
    const empty = await emptyDatabase();
    const blind = await watch({ url: empty.url }, untilFault);
    await empty.close();
    expect(blind.faults).toEqual([expect.stringContaining('a look failed: ')]);
  });
});
