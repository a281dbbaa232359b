/** Dead letters from before there were fingerprints are listed, grouped and found after the migration. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { migrateDown, migrateUp } from '../../../src/db/migrate.ts';
import { listDeadLetters } from '../../../src/jobs/dead-letters.ts';
import { listFailureGroups } from '../../../src/jobs/failures/groups.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { addTenant } from '../../support/tenants.ts';
import { addJobType } from '../job-steps.ts';
import { endedJob, exhausted, fatal } from './ends.ts';

const firstVersion = 23;

let test: TestDatabase;
beforeAll(async () => {
  test = await freshDatabase();
});
afterAll(() => test.close());

it('keep what they are, and go down again', async () => {
  const { sql, url } = test;
  await addJobType(sql);
  const tenantId = await addTenant(sql);
  const ids = [
    await endedJob(sql, tenantId, fatal('http_403', 'row 1 is refused')),
    await endedJob(sql, tenantId, exhausted('http_403', 'row 2 is refused')),
  ];
  const before = await listDeadLetters(sql, { limit: 10 });
  const [ledger] = await sql<{ newer: number }[]>`
    select count(*)::int as newer from purser.migrations where version >= ${firstVersion}`;
  await migrateDown(url, ledger?.newer ?? 0);
  expect(await sql`select job_id from purser.dead_letters order by job_id`).toHaveLength(2);
  await migrateUp(url);
  const fingerprint: unknown = expect.stringMatching(/^0-[0-9a-f]{16}$/);
  const after = await listDeadLetters(sql, { limit: 10, text: 'refused' });
  expect(after).toEqual(before.map((letter) => ({ ...letter, fingerprint })));
  expect(after.map(({ jobId }) => jobId)).toEqual(ids.toReversed());
  expect((await listFailureGroups(sql, 'dead_letters', { limit: 10 })).groups).toMatchObject([
    {
      fingerprint,
      errorCode: 'http_403',
      message: 'row 2 is refused',
      count: 2,
      fatal: 1,
      exhausted: 1,
    },
  ]);
});
