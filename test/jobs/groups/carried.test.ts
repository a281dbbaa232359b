/** A job keeps its group from the door that it came by through every change of state, in each row that names it. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { connect } from '../../../src/db/connect.ts';
import type { Sql } from '../../../src/db/connect.ts';
import type { Database } from '../../../src/db/database.ts';
import { tenantSql } from '../../../src/db/tenant.ts';
import { enqueue as enqueueOf } from '../../../src/handlers/client.ts';
import type { AttemptEnd } from '../../../src/jobs/attempts.ts';
import { requestCancel } from '../../../src/jobs/cancel.ts';
import { replayDeadLetter } from '../../../src/jobs/dead-letters.ts';
import { enqueue, enqueueChild, enqueueMany } from '../../../src/jobs/enqueue.ts';
import { returnToPending } from '../../../src/jobs/queued.ts';
import { expireWaitingJobs, rescueLostAttempts, wakeParkedJobs } from '../../../src/jobs/sweep.ts';
import { rotationJobType, storeRotated } from '../../../src/jobs/rotation.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { addTenant } from '../../support/tenants.ts';
import { addJob, addJobType, begin, claim, finish, runningJob, step } from '../job-steps.ts';

let test: TestDatabase;
let database: Database;
let sql: Sql;
/** Of more than one connection: concurrent calls share statements. */
let pool: Sql;
let tenantId: string;

beforeAll(async () => {
  test = await freshDatabase();
  database = await test.open();
  sql = database.system;
  pool = connect(test.url, { max: 4, applicationName: 'purser test producer' });
  await addJobType(sql);
  await addJobType(sql, rotationJobType);
});
beforeEach(async () => {
  await sql`delete from tenants`;
  tenantId = await addTenant(sql);
});
afterAll(async () => {
  await pool.end();
  await test.close();
});

const group = 'user:42 / "Å"';
const inAMinute = () => new Date(Date.now() + 60_000);

/** Where the job stands, and the group that its row there, its job and the view say. */
async function seen(jobId: string): Promise<unknown> {
  const rows = await sql`
    select coalesce(s.place, j.outcome) as place, s.group_name as "ofRow", j.group_name as "ofJob",
           v.group_name as "ofView"
    from jobs j join background_jobs v on v.id = j.id left join (
      select 'waiting' as place, job_id, group_name from purser.waiting
      union all select 'later', job_id, group_name from purser.later
      union all select 'parked', job_id, group_name from purser.parked
      union all select case when token is null then 'queued' else 'running' end, job_id, group_name
      from purser.in_flight
    ) s on s.job_id = j.id where j.id = ${jobId}`;
  return [...rows];
}
const isOpen = /^(waiting|later|parked|queued|running)$/;
const inPlace = (place: string, name = group) => [
  { place, ofRow: isOpen.test(place) ? name : null, ofJob: name, ofView: name },
];

const key = { dedupKey: 'k' };
const replace = { ...key, onDuplicate: 'replace' } as const;
type Make = (request: { group?: string; runAt?: Date }) => Promise<string>;
const doors: Readonly<Record<string, Make>> = {
  'an enqueue by itself': (request) => addJob(sql, tenantId, { ...request, ...key }),
  'an enqueue in a transaction': (request) => sql.begin((tx) => addJob(tx, tenantId, request)),
  'enqueues that share a statement': async (request) => {
    const calls = [{}, request, { group: 'other' }];
    const made = await Promise.all(calls.map((more) => addJob(pool, tenantId, more)));
    expect(await seen(made[0] ?? '')).toEqual(inPlace('waiting', ''));
    expect(await seen(made[2] ?? '')).toEqual(inPlace('waiting', 'other'));
    return made[1] ?? '';
  },
  enqueueMany: async (request) => {
    const asked = { tenantId, jobType: step };
    const made = await enqueueMany(sql, [asked, { ...asked, ...request }]);
    expect(await seen(made[0]?.jobId ?? '')).toEqual(inPlace('waiting', ''));
    return made[1]?.jobId ?? '';
  },
  'the typed client': async (request) =>
    (await enqueueOf(sql, step, { tenantId, ...request })).jobId,
  'a handler': async (request) => {
    const { token } = await runningJob(sql, tenantId, { group: 'of its parent' });
    const child = { jobType: step, ...request };
    return (await enqueueChild(tenantSql(database.tenant, { token }), child)).jobId;
  },
  'the SQL of a handler': async ({ group: name = null, runAt }) => {
    const { token } = await runningJob(sql, tenantId);
    const [made] = await tenantSql(database.tenant, { token })<{ id: string }>`
      select job_id::text as id
      from purser.enqueue_child(${step}, p_run_at => ${runAt?.toISOString() ?? null}, p_group => ${name})`;
    return made?.id ?? '';
  },
  'a replaced request without a group': async (request) => {
    await addJob(sql, tenantId, key);
    return addJob(sql, tenantId, { ...replace, ...request });
  },
  'a replaced request of another group': async (request) => {
    await addJob(sql, tenantId, { ...key, group: 'other', runAt: inAMinute() });
    return addJob(sql, tenantId, { ...replace, ...request });
  },
};

describe.each(Object.entries(doors))('%s', (_door, make) => {
  it.each([
    ['due', 'waiting', () => ({})],
    ['not yet due', 'later', () => ({ runAt: inAMinute() })],
  ])('names the group of a job that is %s', async (_when, place, more) => {
    expect(await seen(await make({ group, ...more() }))).toEqual(inPlace(place));
  });

  it('names none unless it is asked to', async () => {
    expect(await seen(await make({}))).toEqual(inPlace('waiting', ''));
  });
});

it.each(['ignore', 'reject'] as const)(
  'a taken key leaves the group of its job: %s',
  async (onDuplicate) => {
    const jobId = await addJob(sql, tenantId, { ...key, group });
    const again = { tenantId, jobType: step, ...key, group: 'other', onDuplicate };
    await enqueue(sql, again).catch(() => {});
    await enqueueMany(sql, [{ tenantId, jobType: step, ...key, group: 'other' }]);
    expect(await seen(jobId)).toEqual(inPlace('waiting'));
  },
);

/** Takes the job one step further. */
type Move = (jobId: string) => Promise<unknown>;

const attemptOf = async (jobId: string) => {
  const [row] = await sql<{ entryId: string; token: string }[]>`
    select entry_id as "entryId", token from purser.in_flight where job_id = ${jobId}`;
  return { jobId, entryId: row?.entryId ?? '', token: row?.token ?? '' };
};
const ends =
  (end: Partial<AttemptEnd>): Move =>
  async (jobId) =>
    finish(sql, await attemptOf(jobId), end);
const isLost: Move = async (jobId) => {
  await sql`update purser.in_flight set expires_at = now() - interval '1 second' where job_id = ${jobId}`;
  await rescueLostAttempts(sql);
};
const isOverdue: Move = async (jobId) => {
  await sql`update background_jobs set give_up_at = now() - interval '1 second' where id = ${jobId}`;
  await expireWaitingJobs(sql);
};
const isCancelled: Move = (jobId) => requestCancel(sql, { jobId, by: 'ops', reason: 'x' });
const error = { code: 'broken', message: 'it broke' };
const uncounted = { toState: 'pending', countsAttempt: false } as const;
const parked = { toState: 'parked', neededUsd: '0.001', countsAttempt: false } as const;

const moves = {
  'dispatch>queued': () => claim(sql),
  'begin>running': async (jobId) => begin(sql, await attemptOf(jobId)),
  'return>waiting': async (jobId) => returnToPending(sql, [await attemptOf(jobId)], 'worker full'),
  'complete>completed': ends({}),
  'complete by the handler>completed': async (jobId) => {
    const { token } = await attemptOf(jobId);
    await tenantSql(database.tenant, { token }).begin(async () => {}, { complete: true });
  },
  'fail>waiting': ends({ toState: 'failed', error, afterMs: 0 }),
  'fail>later': ends({ toState: 'failed', error, afterMs: 60_000 }),
  'snooze>waiting': ends(uncounted),
  'snooze>later': ends({ ...uncounted, afterMs: 60_000 }),
  'park>parked': ends({ ...parked, until: inAMinute() }),
  'die>dead_letter': ends({ toState: 'dead_letter', error }),
  'end>cancelled': ends({ toState: 'cancelled' }),
  'become due>waiting': async (jobId) => {
    await sql`update purser.later set scheduled_for = now() where job_id = ${jobId}`;
    await sql`select purser.promote_due(100)`;
  },
  'become due and dispatched>queued': async (jobId) => {
    await sql`update purser.later set scheduled_for = now() where job_id = ${jobId}`;
    await claim(sql);
  },
  'wake>waiting': () => wakeParkedJobs(sql),
  'lose its worker>waiting': isLost,
  'lose its worker alone>later': async (jobId) => {
    await sql`update purser.in_flight set alone = true where job_id = ${jobId}`;
    await isLost(jobId);
  },
  'lose its worker>cancelled': isLost,
  'ask to cancel>running': isCancelled,
  'cancel>cancelled': isCancelled,
  'expire>dead_letter': isOverdue,
  'rotate>waiting': async (jobId) => {
    await addJob(sql, tenantId, { jobType: rotationJobType });
    const [job] = await claim(sql, 1, rotationJobType);
    if (job === undefined) throw new Error('no rotation was claimed');
    const { token } = await begin(sql, job);
    const values = [{ rowId: jobId, token: 'v2.1.old', rotated: 'v2.2.new' }];
    const tenant = tenantSql(database.tenant, { token });
    const stored = await storeRotated(tenant, 'background_jobs.payload', 2, values);
    if (stored !== 1) throw new Error('nothing was rotated');
  },
} satisfies Readonly<Record<string, Move>>;
type Name = keyof typeof moves;

const run = ['dispatch>queued', 'begin>running'] as const;
const walks: readonly (readonly Name[])[] = [
  [...run, 'complete>completed'],
  [...run, 'complete by the handler>completed'],
  [...run, 'fail>waiting', ...run, 'fail>later', 'become due>waiting', 'expire>dead_letter'],
  [...run, 'snooze>waiting', ...run, 'snooze>later', 'become due and dispatched>queued'],
  [...run, 'park>parked', 'wake>waiting', ...run, 'die>dead_letter'],
  [...run, 'park>parked', 'expire>dead_letter'],
  [...run, 'park>parked', 'cancel>cancelled'],
  [...run, 'snooze>later', 'cancel>cancelled'],
  ['dispatch>queued', 'return>waiting', 'dispatch>queued', 'expire>dead_letter'],
  [...run, 'lose its worker>waiting', ...run, 'lose its worker alone>later', 'expire>dead_letter'],
  [...run, 'ask to cancel>running', 'lose its worker>cancelled'],
  [...run, 'ask to cancel>running', 'end>cancelled'],
  ['rotate>waiting', 'cancel>cancelled'],
];

it.each(walks.map((walk) => [walk.join(', '), walk] as const))('%s', async (_names, walk) => {
  const payload = { token: { $secret: 'v2.1.old' } };
  const jobId = await addJob(sql, tenantId, { group, payload });
  for (const name of walk) {
    await moves[name](jobId);
    expect([name, await seen(jobId)]).toEqual([name, inPlace(name.split('>')[1] ?? '')]);
  }
});

it('every move is part of a walk', () => {
  expect([...new Set(walks.flat())].toSorted()).toEqual(Object.keys(moves).toSorted());
});

it('a replayed dead letter is of the same group, and keeps its own', async () => {
  const { jobId, token } = await runningJob(sql, tenantId, { group });
  await finish(sql, { jobId, token }, { toState: 'dead_letter', error });
  const made = await replayDeadLetter(sql, jobId, { operator: 'ops', source: 'test' });
  expect(await seen(made.jobId)).toEqual(inPlace('waiting'));
  expect(await seen(jobId)).toEqual(inPlace('dead_letter'));
});
