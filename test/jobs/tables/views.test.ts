/** The views under the old names: nothing is written through them, and they show what their reader may see. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { addTenant } from '../../support/tenants.ts';
import { addJob, addJobType } from '../job-steps.ts';

let test: TestDatabase;
beforeAll(async () => {
  test = await freshDatabase();
  // By which other tests arrange jobs.
  await test.sql`drop trigger write_job on background_jobs`;
  await addJobType(test.sql);
  await addJob(test.sql, await addTenant(test.sql));
});
afterAll(() => test.close());

describe.each(['background_jobs', 'job_events'])('the view %s', (view) => {
  it.each([
    ['insert', `insert into ${view} (tenant_id) values ('x')`],
    ['update', `update ${view} set tenant_id = 'x'`],
    ['delete', `delete from ${view}`],
  ])('refuses an %s, also of the owner', async (_, statement) => {
    // object_not_in_prerequisite_state: a view of several tables, without a trigger that would write.
    await expect(test.sql.unsafe(statement)).rejects.toMatchObject({ code: '55000' });
  });

  it('asks with the rights of who reads it', async () => {
    const [row] = await test.sql`
      select 'security_invoker=true' = any(reloptions) as invoker from pg_class where oid = ${view}::regclass`;
    expect(row).toEqual({ invoker: true });
  });
});
