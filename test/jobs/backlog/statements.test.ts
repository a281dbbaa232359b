/** Statements with many jobs, of one tenant or of several, and limits of their backlogs. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { connect } from '../../../src/db/connect.ts';
import type { Sql } from '../../../src/db/connect.ts';
import { enqueue } from '../../../src/jobs/enqueue.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { addTenant } from '../../support/tenants.ts';
import { addJobType, step } from '../job-steps.ts';
import { jobsOf, leftovers, limitedTenant, setLimits, taken } from './backlog-tenant.ts';

let test: TestDatabase;
/** Its concurrent calls share statements. */
let gathering: Sql;

beforeAll(async () => {
  test = await freshDatabase();
  await addJobType(test.sql);
  gathering = connect(test.url, { max: 4, applicationName: 'purser test producer' });
});
afterAll(async () => {
  await gathering.end();
  await test.close();
});

const add = (connection: Parameters<typeof enqueue>[0], tenantId: string) =>
  enqueue(connection, { tenantId, jobType: step });

it('a full tenant does not fail the others of a shared statement', async () => {
  const fullTenant = await limitedTenant(test.sql, { jobs: 1 });
  const others = await Promise.all(Array.from({ length: 3 }, () => addTenant(test.sql)));
  await setLimits(test.sql, others[0] ?? '', { jobs: 10 });
  const calls = Array.from({ length: 40 }, (_, n) =>
    add(gathering, n % 4 === 3 ? fullTenant : (others[n % 4] ?? '')),
  );
  expect(await taken(calls)).toHaveLength(31);
  for (const tenantId of others) expect(await jobsOf(test.sql, tenantId)).toBe(10);
  expect(await jobsOf(test.sql, fullTenant)).toBe(1);
});

it('a tenant whose gate is held does not hold up the others of a shared statement', async () => {
  const held = await limitedTenant(test.sql, { jobs: 100 });
  const other = await addTenant(test.sql);
  let waiting: Promise<unknown> = Promise.resolve();
  await test.sql.begin(async (tx) => {
    await tx`set constraints all immediate`;
    await add(tx, held);
    const calls = Array.from({ length: 4 }, (_, n) => add(gathering, n % 2 === 0 ? held : other));
    waiting = Promise.all(calls);
    await Promise.all(calls.filter((_, n) => n % 2 === 1));
  });
  await waiting;
  expect(await jobsOf(test.sql, held)).toBe(3);
});

it('20,000 jobs in one statement are refused by a limit of 10,000, and nothing is written', async () => {
  const tenantId = await limitedTenant(test.sql, { jobs: 10_000 });
  const statement = (count: number, key: string | null) => test.sql`
    select count(*) from purser.enqueue_many((
      select jsonb_agg(jsonb_strip_nulls(jsonb_build_object('tenantId', ${tenantId}::text, 'jobType', ${step}::text,
        'dedupKey', ${key}::text || n)))
      from generate_series(1, ${count}::int) n))`;
  for (const key of [null, 'key-']) {
    await expect(statement(20_000, key)).rejects.toMatchObject({
      code: 'PU012',
      message: expect.stringMatching(/^backlog_full: request 10001: .*20000 more would exceed/),
    });
    expect(await jobsOf(test.sql, tenantId)).toBe(0);
    expect(await leftovers(test.sql, tenantId)).toBe(0);
  }
  await statement(10_000, null);
  expect(await jobsOf(test.sql, tenantId)).toBe(10_000);
});

it('20,000 jobs one by one in a statement or a transaction too, and the backlog is not counted for each', async () => {
  const tenantId = await limitedTenant(test.sql, { jobs: 10_000 });
  await expect(test.sql`
    select purser.enqueue(${tenantId}, ${step}) from generate_series(1, 20000)`).rejects.toMatchObject(
    {
      code: 'PU012',
      message: expect.stringContaining('has 10000 jobs'),
    },
  );
  expect(await jobsOf(test.sql, tenantId)).toBe(0);
  await test.sql`select purser.enqueue(${tenantId}, ${step}) from generate_series(1, 9999)`;
  await test.sql.begin(async (tx) => {
    await tx`select purser.enqueue(${tenantId}, ${step})`;
    await expect(tx.savepoint((inner) => add(inner, tenantId))).rejects.toMatchObject({
      code: 'backlog_full',
    });
  });
  expect(await jobsOf(test.sql, tenantId)).toBe(10_000);
});

it('a setting that claims room takes nothing beyond the limit', async () => {
  const tenantId = await limitedTenant(test.sql, { jobs: 2 });
  const room = { tenant: tenantId, jobs: 100, bytes: 1_000_000, until: 32_503_680_000 };
  const open = test.sql.begin(async (tx) => {
    for (let n = 0; n < 3; n += 1) {
      await tx`select set_config('purser.backlog_room', ${JSON.stringify(room)}, true)`;
      await add(tx, tenantId);
    }
  });
  await expect(open).rejects.toMatchObject({
    code: 'PU012',
    message: expect.stringContaining('has 0 jobs that have not begun; 3 more'),
  });
  expect(await jobsOf(test.sql, tenantId)).toBe(0);
});
