/** `purser ingest`. */
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { curFile } from '../../costs/exports/aws-cur/file.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { addTenant } from '../../support/tenants.ts';
import { invokeWith } from '../in-process.ts';
import type { Invoke } from '../in-process.ts';

let database: TestDatabase;
let invoke: Invoke;
let tenantId: string;
let folder: string;
beforeAll(async () => {
  database = await freshDatabase();
  invoke = invokeWith({ DATABASE_URL: database.url });
  folder = await mkdtemp(join(tmpdir(), 'purser-files-'));
});
beforeEach(async () => {
  tenantId = await addTenant(database.sql);
});
afterAll(async () => {
  await rm(folder, { recursive: true });
  await database.close();
});

it('accepts a legacy CUR by --file or --focus, and refuses an unknown format', async () => {
  const path = join(folder, 'cur.csv');
  await writeFile(path, curFile([{}, { 'lineItem/UnblendedCost': '2' }]));
  const ingest = ['ingest', '--tenant', tenantId];
  expect(await invoke(...ingest, '--file', path, '--format', 'aws-cur')).toMatchObject({
    code: 0,
  });
  expect(await invoke(...ingest, '--focus', path)).toMatchObject({
    code: 0,
    out: expect.stringContaining('already has this file'),
  });
  const uploads = await database.sql`
    select format, state from ingest_uploads where tenant_id = ${tenantId}`;
  expect([...uploads]).toEqual([{ format: 'aws-cur', state: 'ready' }]);
  for (const [args, says] of [
    [['--file', path, '--format', 'azure'], 'there is no format "azure"; use auto, focus, aws-cur'],
    [['--file', path, '--focus', path], 'either --file FILE or --focus FILE'],
    [[], 'name the export with'],
  ] as const) {
    const { code, err } = await invoke(...ingest, ...args);
    expect([code, err]).toEqual([64, expect.stringContaining(says)]);
  }
});

it('splits a legacy CUR among tenants that it adds by lineItem/UsageAccountId', async () => {
  const path = join(folder, 'many.csv');
  const rows = ['700000000001', '700000000002', '700000000001', ''].map((id) => ({
    'lineItem/UsageAccountId': id,
  }));
  await writeFile(path, curFile(rows));
  const split = ['ingest', '--tenant-column', 'lineItem/UsageAccountId', '--create-tenants'];
  const { code, out, err } = await invoke(...split, '--file', path, '--json');
  expect([code, err]).toEqual([1, expect.stringContaining('line 5, lineItem/UsageAccountId')]);
  expect(JSON.parse(out)).toMatchObject({ rows: 3, errors: 1 });
  const jobs = await database.sql`
    select u.tenant_id, u.format, u.state, j.state as job from ingest_uploads u
    join background_jobs j on j.tenant_id = u.tenant_id and j.job_type = 'cost_ingestion'
    where u.file_name = 'many.csv' order by u.tenant_id`;
  expect([...jobs]).toEqual(
    ['700000000001', '700000000002'].map((tenant_id) => ({
      tenant_id,
      format: 'aws-cur',
      state: 'ready',
      job: 'pending',
    })),
  );
});

it('takes the files of one export, named one by one or by their manifest', async () => {
  for (const id of ['1', '2']) {
    await writeFile(join(folder, `hourly-0000${id}.csv`), curFile([{ 'lineItem/ResourceId': id }]));
  }
  const manifest = join(folder, 'hourly-Manifest.json');
  const keys = ['1', '2'].map((id) => `prefix/hourly-0000${id}.csv`);
  await writeFile(manifest, JSON.stringify({ reportKeys: keys }));
  const ingest = ['ingest', '--tenant', tenantId];
  expect(await invoke(...ingest, '--file', manifest)).toMatchObject({ code: 0 });
  const files = ['2', '1'].flatMap((id) => ['--file', join(folder, `hourly-0000${id}.csv`)]);
  expect(await invoke(...ingest, ...files)).toMatchObject({
    code: 0,
    out: expect.stringContaining('already has this file'),
  });
  const alone = await invoke(...ingest, ...files.slice(0, 2));
  expect(alone).toMatchObject({
    code: 1,
    err: expect.stringContaining('it is part 2 of an export'),
  });
  expect(await invoke(...ingest, ...files.slice(0, 2), '--complete')).toMatchObject({ code: 0 });
  const uploads = await database.sql`
    select file_name, jsonb_array_length(parts) as parts, complete from ingest_uploads
    where tenant_id = ${tenantId} order by id`;
  expect([...uploads]).toEqual([
    { file_name: 'hourly-00001.csv and 1 more', parts: 2, complete: false },
    { file_name: 'hourly-00002.csv', parts: 0, complete: true },
  ]);
});

it('says which file may be cut within its last value, for one tenant, in parts and for many', async () => {
  const text = curFile([{ 'lineItem/UsageAccountId': '800000000001' }]);
  const write = async (name: string, content: string): Promise<string> => {
    await writeFile(join(folder, name), content);
    return join(folder, name);
  };
  const cut = text.slice(0, -1);
  const says = (name: string) => expect.stringContaining(`${name}: the last line has no line end.`);
  const one = ['ingest', '--tenant', tenantId];
  expect(await invoke(...one, '--file', await write('whole.csv', text))).toMatchObject({
    err: expect.not.stringContaining('line end'),
  });
  const file = await write('cut.csv', cut);
  for (const word of ['ready for tenant', 'already has this file']) {
    const { code, out, err } = await invoke(...one, '--complete', '--file', file);
    expect([code, out, err]).toEqual([0, expect.stringContaining(word), says('cut.csv')]);
  }
  const [header = ''] = text.split('\n');
  const parts = [
    await write('part-1.csv', cut),
    await write('part-2.csv', `${header}\n`),
    await write('part-3.csv', header),
  ];
  const all = [...one, '--complete', ...parts.flatMap((path) => ['--file', path])];
  const joined = await invoke(...all, '--json');
  expect(JSON.parse(joined.out)).toMatchObject({ withoutLineEnd: ['part-1.csv'] });
  expect(joined.err.match(/the last line has no line end/g)).toHaveLength(1);
  const many = ['ingest', '--tenant-column', 'lineItem/UsageAccountId', '--create-tenants'];
  const split = await invoke(...many, '--complete', '--file', file, '--json');
  expect([split.code, split.err]).toEqual([0, says('cut.csv')]);
  expect(JSON.parse(split.out)).toMatchObject({ withoutLineEnd: ['cut.csv'] });
});

it('names what is wrong with a file before anything is uploaded', async () => {
  const empty = join(folder, 'empty.csv');
  const other = join(folder, 'other.csv');
  await writeFile(empty, '');
  await writeFile(other, 'a,b\n1,2\n');
  for (const [path, says] of [
    [join(folder, 'missing.csv'), 'cannot be opened (ENOENT)'],
    [folder, 'is a folder; name a file'],
    [empty, 'the file is empty'],
    [other, 'not a FOCUS 1.0 to 1.4 file: missing'],
  ] as const) {
    const { code, err } = await invoke('ingest', '--focus', path, '--tenant', tenantId);
    expect([path, code, err]).toEqual([path, 1, expect.stringContaining(says)]);
  }
  const uploads = await database.sql`select from ingest_uploads where tenant_id = ${tenantId}`;
  expect(uploads).toHaveLength(0);
});

it('refuses a pipe without waiting for data', async () => {
  const path = join(folder, 'pipe.csv');
  const pipe = createServer().listen(path);
  await once(pipe, 'listening');
  expect(await invoke('ingest', '--tenant', tenantId, '--file', path)).toEqual({
    code: 1,
    out: '',
    err: `--file ${path}: is a pipe, but an export is read more than once; write it to a file first`,
  });
  pipe.close();
});

it('names a tenant whose rows a newer export of the same bill no longer has; a part is refused', async () => {
  const payer = '555555555555';
  const [uploaded] = await database.sql<{ id: string }[]>`
    insert into ingest_uploads (tenant_id, file_name, file_hash, has_line_column, bills)
    values (${tenantId}, 'older.csv', ${'ab'.repeat(32)}, true, '[]') returning id`;
  const [delivery] = await database.sql<{ id: string }[]>`
    insert into cost_deliveries (tenant_id, source, billing_period, file_hash, upload_id, row_count)
    values (${tenantId}, ${`AWS/${payer}`}, '2024-09-01', ${'ab'.repeat(32)}, ${uploaded?.id ?? ''}, 1) returning id`;
  await database.sql`
    insert into cost_records (delivery_id, line, tenant_id, provider_name, billing_account_id, service_name,
      charge_category, charge_period_start, charge_period_end, billing_currency, billed_cost)
    values (${delivery?.id ?? ''}, 2, ${tenantId}, 'AWS', ${payer}, 's', 'Usage', now(), now(), 'USD', 1)`;
  const path = join(folder, 'newer.csv');
  const other = '700000000003';
  const row = { 'bill/PayerAccountId': payer, 'lineItem/UsageAccountId': other };
  await writeFile(path, curFile([row]));
  const split = ['ingest', '--tenant-column', 'lineItem/UsageAccountId', '--create-tenants'];
  expect(await invoke(...split, '--file', path)).toMatchObject({
    code: 1,
    out: '',
    err: expect.stringMatching(
      /newer\.csv and older\.csv .* repeats only 0 of 1 charges .*--complete/,
    ),
  });
  expect(await invoke(...split, '--complete', '--file', path)).toMatchObject({
    code: 0,
    out: expect.stringContaining('1 rows of 1 tenants uploaded'),
    err: expect.stringMatching(
      new RegExp(
        `tenant ${tenantId} has 1 row of AWS/${payer}, 2024-09-01, .*: upload \\d+ removes them`,
      ),
    ),
  });
});
