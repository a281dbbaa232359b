import { afterAll, beforeAll, expect, it } from 'vitest';
import { jobStates, terminalStates, transitions } from '../../src/jobs/states.ts';
import type { JobState } from '../../src/jobs/states.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { addTenant } from '../support/tenants.ts';
import { addJob, addJobType, finish, historyOf, runningJob } from './job-steps.ts';

let test: TestDatabase;
let tenantId: string;

beforeAll(async () => {
  test = await freshDatabase();
  await addJobType(test.sql);
  tenantId = await addTenant(test.sql);
});
afterAll(() => test.close());

const terminal = (state: JobState) => terminalStates.includes(state);

/** A job put straight into a state, with what that state asks of a row. */
async function jobIn(state: JobState): Promise<string> {
  const [row] = await test.sql<{ id: string }[]>`
    insert into background_jobs (tenant_id, job_type, state, max_attempts, give_up_at, lease_owner,
      finished_at, error, needed_usd)
    values (${tenantId}, 'test_step', ${state}, 3, now() + interval '1 day',
      ${state === 'running' ? 'worker-1' : null}, ${terminal(state) ? new Date() : null},
      ${state === 'dead_letter' ? '{"code": "x"}' : null}::text::jsonb, 1)
    returning id`;
  if (row === undefined) throw new Error('no row');
  return row.id;
}

const move = (jobId: string, to: JobState) => test.sql`
  update background_jobs set state = ${to}, lease_owner = ${to === 'running' ? 'worker-1' : null},
    finished_at = ${terminal(to) ? new Date() : null}, error = '{"code": "x"}', needed_usd = 1
  where id = ${jobId}`;

it('the database allows exactly the transitions of the code', async () => {
  const rows = await test.sql<{ from_state: string; to_state: string }[]>`
    select from_state, to_state from purser.job_transitions`;
  const inDatabase = rows.map((row) => `${row.from_state}>${row.to_state}`).toSorted();
  const inCode = jobStates.flatMap((from) => transitions[from].map((to) => `${from}>${to}`));
  expect(inDatabase).toEqual(inCode.toSorted());
  expect(terminalStates).toEqual(['completed', 'dead_letter', 'cancelled']);
});

const pairs = jobStates.flatMap((from) =>
  jobStates
    .filter((to) => to !== from)
    .map((to) => ({ from, to, legal: transitions[from].includes(to) })),
);

it.each(pairs.filter(({ legal }) => legal))('$from may become $to', async ({ from, to }) => {
  const jobId = await jobIn(from);
  await move(jobId, to);
  expect(await historyOf(test.sql, jobId)).toEqual([`>${from}`, `${from}>${to}`]);
});

it.each(pairs.filter(({ legal }) => !legal))('$from cannot become $to', async ({ from, to }) => {
  const jobId = await jobIn(from);
  await expect(move(jobId, to)).rejects.toMatchObject({ code: 'PU006' });
  expect(await historyOf(test.sql, jobId)).toEqual([`>${from}`]);
});

it('one illegal transition in a statement refuses the whole statement', async () => {
  const [fine, ended] = [await jobIn('pending'), await jobIn('completed')];
  await expect(
    test.sql`update background_jobs set state = 'cancelled', finished_at = now()
      where id in (${fine}, ${ended})`,
  ).rejects.toMatchObject({ code: 'PU006' });
  expect(await historyOf(test.sql, fine)).toEqual(['>pending']);
});

it.each([
  ['running without a lease', `state = 'running'`],
  ['a lease without running', `lease_owner = 'worker-1'`],
  ['ended without an end', `state = 'cancelled'`],
  ['an end without having ended', `finished_at = now()`],
  ['a dead letter without an error', `state = 'dead_letter', finished_at = now()`],
  ['discarded without being a dead letter', `discarded_at = now()`],
  ['a negative attempt', `attempt = -1`],
  ['a priority out of range', `priority = 1001`],
  ['a state that is none', `state = 'sleeping'`],
])('the table refuses %s', async (_what, change) => {
  const jobId = await addJob(test.sql, tenantId);
  await expect(
    test.sql.unsafe(`update background_jobs set ${change} where id = ${jobId}`),
  ).rejects.toMatchObject({ code: '23514' });
});

it('parked without needed_usd is refused', async () => {
  const attempt = await runningJob(test.sql, tenantId);
  await expect(finish(test.sql, attempt, { toState: 'parked' })).rejects.toMatchObject({
    code: '23514',
  });
});

it.each([
  'update job_events set to_state = to_state',
  'delete from job_events',
  'truncate job_events',
])('the history is append-only: %s', async (statement) => {
  await addJob(test.sql, tenantId);
  await expect(test.sql.unsafe(statement)).rejects.toMatchObject({ code: '42501' });
});

it('every transition of a job is recorded with its attempt', async () => {
  const attempt = await runningJob(test.sql, tenantId);
  await finish(test.sql, attempt);
  const events = await test.sql`
    select from_state, to_state, attempt from job_events where job_id = ${attempt.jobId} order by id`;
  expect(events.map((event) => Object.values(event).join(' '))).toEqual([
    ' pending 0',
    'pending queued 0',
    'queued running 1',
    'running completed 1',
  ]);
});
