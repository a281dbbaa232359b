/** A batch whose step fails as a whole: it is tried again later, and holds up no other. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Sql } from '../../../src/db/connect.ts';
import { batchOf } from '../../../src/operations/batches/batch.ts';
import { stepBatches } from '../../../src/operations/batches/step.ts';
import { addJobType } from '../../jobs/job-steps.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { addTenant } from '../../support/tenants.ts';
import { deadLetters, dueNow, started, untilOver } from './batch-database.ts';

let test: TestDatabase;
let sql: Sql;
beforeAll(async () => {
  test = await freshDatabase();
  sql = (await test.open({ systemConnections: 4 })).system;
  await addJobType(sql);
});
afterAll(() => test.close());

it.each(['discard', 'replay'] as const)(
  'a %s that the server refuses holds up no other batch, is told, and ends when it is mended',
  async (act) => {
    const [bad, good] = [await addTenant(sql), await addTenant(sql)];
    await deadLetters(sql, bad, 2);
    await deadLetters(sql, good, 2);
    const refused = await started(sql, act, { tenantId: bad });
    const other = await started(sql, act, { tenantId: good });
    await test.sql.unsafe(`
      create function public.refuse_some() returns trigger language plpgsql as $$
      begin
        if new.tenant_id = '${bad}' then
          raise exception 'canary' using errcode = '53100';
        end if;
        return new;
      end $$;
      create trigger refuse_some before insert or update on public.jobs
      for each row execute function public.refuse_some()`);
    await dueNow(sql);
    const faults: unknown[] = [];
    for (let steps = 0; steps < 4; steps += 1) {
      const { fault } = await stepBatches(sql);
      if (fault !== undefined) faults.push(fault);
    }
    expect(faults).toEqual([{ batchId: refused, code: '53100' }]);
    expect(await batchOf(sql, other)).toMatchObject({ state: 'completed', done: 2 });
    expect(await batchOf(sql, refused)).toMatchObject({ state: 'running', done: 0, waiting: 2 });

    await test.sql.unsafe('drop function public.refuse_some() cascade');
    expect(await untilOver(sql, refused)).toMatchObject({ state: 'completed', done: 2 });
  },
);
