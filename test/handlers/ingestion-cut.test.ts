/** An ingestion whose database session dies is a failed attempt; the next one delivers every row once. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { costIngestion } from '../../src/handlers/cost-ingestion.ts';
import { sampleFocusFile } from '../../src/costs/sample/data.ts';
import { uploadFile } from '../../src/costs/uploads/uploads.ts';
import { noJob, openBench } from './handler-bench.ts';
import type { HandlerBench } from './handler-bench.ts';

let bench: HandlerBench;
beforeAll(async () => {
  bench = await openBench();
});
afterAll(async () => {
  await bench.close();
});

async function terminateDuring(statement: string): Promise<void> {
  for (;;) {
    const ended = await bench.test.sql`
      select pg_terminate_backend(pid) from pg_stat_activity
      where datname = current_database() and pid <> pg_backend_pid() and state = 'active'
        and query ~* ${`^\\s*${statement}`}`;
    if (ended.length > 0) return;
    await sleep(2);
  }
}

it.each(['copy pg_temp', 'insert into public.cost_records', 'copy pg_temp'])(
  'a session terminated during "%s" loses nothing and doubles nothing',
  async (statement) => {
    const tenantId = await bench.addTenant();
    const bytes = Buffer.concat([...sampleFocusFile({ days: 60, scale: 2 })]);
    const path = await bench.file(`${tenantId}.csv`, bytes);
    const { database } = bench;
    const { uploadId } = await uploadFile({ database, tenantId, path, onReady: noJob });
    const run = bench.run(costIngestion, tenantId, { payload: { uploadId } });
    await Promise.all([expect(run).rejects.toBeInstanceOf(Error), terminateDuring(statement)]);
    const result = await bench.ingestUpload(tenantId, uploadId);
    expect(result).toMatchObject({ errors: 0 });
    const [stored] = await bench.test.sql`
      select count(*)::int as rows from cost_records where tenant_id = ${tenantId}`;
    expect(stored).toEqual({ rows: result.rows });
  },
);
