import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { costIngestion } from '../../src/handlers/cost-ingestion.ts';
import { sampleFocusFile } from '../../src/costs/sample/data.ts';
import { uploadFile } from '../../src/costs/uploads/uploads.ts';
import { focusFile } from '../costs/exports/focus/file.ts';
import { noJob, openBench } from './handler-bench.ts';
import { ingestingName } from './ingesting-name.ts';
import type { HandlerBench } from './handler-bench.ts';

let bench: HandlerBench;

beforeAll(async () => {
  bench = await openBench();
});
afterAll(async () => {
  await bench.close();
});

function countRows(tenantId: string): Promise<number> {
  return bench.test.sql<{ rows: number }[]>`
    select count(*)::int as rows from cost_records where tenant_id = ${tenantId}`.then(
    ([row]) => row?.rows ?? -1,
  );
}

/** Kills the process once its session runs this statement, as the platform or the kernel would. */
async function killDuring(child: ChildProcess, statement: string): Promise<void> {
  for (;;) {
    const busy = await bench.test.sql`
      select from pg_stat_activity
      where datname = current_database() and application_name = ${`${ingestingName} tenant`}
        and query ~* ${`^\\s*${statement}`} and state = 'active'`;
    if (busy.length > 0) break;
    if (child.exitCode !== null) throw new Error('the ingestion ended before it could be killed');
    await sleep(2);
  }
  child.kill('SIGKILL');
  await once(child, 'exit');
}

function ingestInChild(tenantId: string, uploadId: string): ChildProcess {
  const script = fileURLToPath(new URL('ingest-child.ts', import.meta.url));
  const facts = [bench.test.url, tenantId, uploadId];
  return spawn(process.execPath, ['--import', 'tsx', script, ...facts], { stdio: 'inherit' });
}

it('an ingestion that is killed repeatedly leaves no row, and the next one stores every row once', async () => {
  const tenantId = await bench.addTenant();
  const bytes = Buffer.concat([...sampleFocusFile({ days: 60, scale: 2 })]);
  const path = await bench.file(`${tenantId}.csv`, bytes);
  const { uploadId } = await uploadFile({
    database: bench.database,
    tenantId,
    path,
    onReady: noJob,
  });
  for (const statement of ['copy pg_temp', 'insert into public.cost_records', 'copy pg_temp']) {
    const child = ingestInChild(tenantId, uploadId);
    await killDuring(child, statement);
    expect(child.signalCode).toBe('SIGKILL');
    expect(await countRows(tenantId)).toBe(0);
  }
  const rows = bytes.toString('latin1').split('\n').length - 2;
  expect(await bench.ingestUpload(tenantId, uploadId)).toMatchObject({ rows, errors: 0 });
  expect(await countRows(tenantId)).toBe(rows);
}, 60_000);

it('an attempt that is superseded before its commit leaves no row', async () => {
  const tenantId = await bench.addTenant();
  const path = await bench.file('stale.csv', focusFile([{}]));
  const { uploadId } = await uploadFile({
    database: bench.database,
    tenantId,
    path,
    onReady: noJob,
  });
  const controller = new AbortController();
  // Read once per batch of rows, so in the middle of the transaction.
  const takeOver = Object.assign(controller.signal, {
    throwIfAborted: () => {
      takenOver = bench.test
        .sql`delete from purser.in_flight where tenant_id = ${tenantId}`.execute();
    },
  });
  let takenOver: Promise<unknown> | undefined;
  const run = bench.run(costIngestion, tenantId, { payload: { uploadId }, signal: takeOver });
  await expect(run).rejects.toMatchObject({ code: expect.stringMatching(/^PU00[12]$/) });
  await takenOver;
  expect(await countRows(tenantId)).toBe(0);
});

it('removing a tenant deletes its uploads, deliveries, rows and analyses', async () => {
  const tenantId = await bench.addTenant();
  await bench.ingest(tenantId, await bench.file('gone.csv', focusFile([{}, { BilledCost: 'x' }])));
  await bench.test.sql`delete from tenants where id = ${tenantId}`;
  for (const table of ['ingest_uploads', 'ingest_errors', 'cost_deliveries', 'cost_records']) {
    const rows = await bench.test.sql`
      select from ${bench.test.sql(table)} where tenant_id = ${tenantId}`;
    expect({ table, rows: rows.length }).toEqual({ table, rows: 0 });
  }
});

it('runs where executors log in as the tenant role (L3)', async () => {
  const strict = await openBench('L3');
  try {
    const tenantId = await strict.addTenant();
    const path = await strict.file('l3.csv', focusFile([{}, {}]));
    expect(await strict.ingest(tenantId, path)).toMatchObject({ rows: 2, errors: 0 });
  } finally {
    await strict.close();
  }
});
