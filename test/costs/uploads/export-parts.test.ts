/** An export in several files is one delivery: no part silently replaces another. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { uploadByTenantColumn } from '../../../src/costs/uploads/tenants.ts';
import { uploadFile } from '../../../src/costs/uploads/uploads.ts';
import { noJob, openBench } from '../../handlers/handler-bench.ts';
import type { HandlerBench } from '../../handlers/handler-bench.ts';
import { focusFile } from '../exports/focus/file.ts';

const field = '../shared/field';
const fieldParts = [1, 2].map((part) => `${field}/focus_part_${part}_of_2.csv`);
const absent = existsSync(field) ? '' : ` (skipped: ${field} is not here)`;

let bench: HandlerBench;
beforeAll(async () => {
  bench = await openBench();
});
afterAll(() => bench.close());

/** One charge a day, from `from` to `to`. */
const days = (from: number, to: number, cost = '1') =>
  Array.from({ length: to - from + 1 }, (_, index) => {
    const day = String(from + index).padStart(2, '0');
    return {
      ChargePeriodStart: `2024-09-${day} 00:00:00`,
      ChargePeriodEnd: `2024-09-${day} 23:00:00`,
      BilledCost: cost,
    };
  });

async function stored(tenantId: string) {
  const [row] = await bench.test.sql`
    select count(*)::int as rows, coalesce(trim_scale(sum(billed_cost)), 0)::text as cost
    from cost_records where tenant_id = ${tenantId}`;
  return row;
}

const asPart = { code: 'export_parts', details: { class: 'fatal' } };

describe('parts that are given together', () => {
  it('are one delivery, in the order of their names, with the header once', async () => {
    const tenantId = await bench.addTenant();
    const quotedHeader = focusFile(days(11, 11)).replace('Tags', '"Tags","more\nlines"');
    const files = [
      await bench.file('x-10.csv', focusFile(days(11, 20))),
      await bench.file('x-9.csv', focusFile(days(1, 10)).trimEnd()),
      await bench.file('x-11.csv', `\uFEFF\r\n${focusFile([]).trimEnd()}`),
      await bench.file('x-12.csv', `\uFEFF${focusFile(days(21, 30)).replaceAll('\n', '\r\n')}`),
    ];
    const result = await bench.ingest(tenantId, files);
    expect(result).toMatchObject({ rows: 30, errors: 0, fileName: 'x-9.csv and 3 more' });
    expect(await stored(tenantId)).toEqual({ rows: 30, cost: '30' });
    const again = await bench.ingest(tenantId, files.toReversed());
    expect(again).toMatchObject({ rows: 30, deliveries: [{ outcome: 'added' }] });
    await expect(
      bench.ingest(tenantId, [...files, await bench.file('x-13.csv', quotedHeader)]),
    ).rejects.toMatchObject({ ...asPart, message: expect.stringContaining('other columns') });
    const twice = await bench.file('x-14.csv', focusFile(days(11, 20)));
    await expect(bench.ingest(tenantId, [...files, twice])).rejects.toMatchObject({
      ...asPart,
      message: 'x-14.csv has the same content as x-10.csv; give it once',
    });
  });

  it.each([
    ['ends its header line', '\n', '\n'],
    ['ends no line', '', ''],
    ['ends its header line, after a part that ends no line', '', '\n'],
  ])(
    'keep every row and its line around parts without rows: one %s',
    async (_name, row, header) => {
      const tenantId = await bench.addTenant();
      const empty = `${focusFile([]).trimEnd()}${header}`;
      const result = await bench.ingest(tenantId, [
        await bench.file('e-1.csv', `${focusFile(days(1, 2)).trimEnd()}${row}`),
        await bench.file('e-2.csv', empty),
        await bench.file('e-3.csv', empty),
        await bench.file('e-4.csv', focusFile([...days(3, 3), { BilledCost: 'x' }])),
      ]);
      expect(result).toMatchObject({ rows: 3, errors: 1 });
      const [fault] = await bench.test.sql<{ reason: string }[]>`
      select reason from ingest_errors where tenant_id = ${tenantId}`;
      expect(fault?.reason).toMatch(/^e-4\.csv, line 3: /);
    },
  );

  it('have their faults named by file and line', async () => {
    const tenantId = await bench.addTenant();
    const bad = [...days(2, 2), { BilledCost: 'x' }, { Tags: 'y' }];
    const result = await bench.ingest(tenantId, [
      await bench.file('y-1.csv', focusFile(days(1, 1)).trimEnd()),
      await bench.file('y-2.csv', `\n${focusFile(bad)}`),
      await bench.file('y-3.csv', focusFile([{ BilledCost: '' }])),
    ]);
    expect(result).toMatchObject({ rows: 3, errors: 2, warnings: 1 });
    const faults = await bench.test.sql<{ reason: string }[]>`
      select reason from ingest_errors where tenant_id = ${tenantId} order by line`;
    expect(faults.map(({ reason }) => reason.split(':')[0])).toEqual([
      'y-2.csv, line 4',
      'y-2.csv, line 5',
      'y-3.csv, line 2',
    ]);
  });

  it('are split by tenant together', async () => {
    const withTenant = (rows: number[], tenant: string) =>
      focusFile(rows.flatMap((day) => days(day, day)))
        .replaceAll('\n', `,${tenant}\n`)
        .replace(`Tags,${tenant}`, 'Tags,SubAccountId');
    const { uploads } = await uploadByTenantColumn({
      database: bench.database,
      path: [
        await bench.file('t-1.csv', withTenant([1, 2], 'split-parts')),
        await bench.file('t-2.csv', withTenant([3], 'split-parts')),
      ],
      column: 'SubAccountId',
      ensureTenant: async (_sql, id) => void (await bench.addTenant(id)),
      onReady: noJob,
    });
    for (const { tenantId, uploadId } of uploads) await bench.ingestUpload(tenantId, uploadId);
    expect(await stored('split-parts')).toEqual({ rows: 3, cost: '3' });
  });

  it.skipIf(absent !== '')(`give all rows of an export from the field${absent}`, async () => {
    const tenantId = await bench.addTenant();
    const lines = await Promise.all(
      fieldParts.map(
        async (path) => (await readFile(path, 'utf8')).trimEnd().split('\n').length - 1,
      ),
    );
    const { rows, errors } = await bench.ingest(tenantId, fieldParts);
    expect({ rows, errors }).toEqual({
      rows: lines.reduce((sum, each) => sum + each, 0),
      errors: 0,
    });
  });
});

describe('a part that is given alone', () => {
  it('is refused by its name, before anything is uploaded', async () => {
    const tenantId = await bench.addTenant();
    const part = await bench.file('focus_part_2_of_3.csv', focusFile(days(1, 2)));
    const first = await bench.file('focus_part_1_of_3.csv', focusFile(days(3, 4)));
    await expect(bench.ingest(tenantId, part)).rejects.toMatchObject({
      ...asPart,
      message: expect.stringMatching(/part 2 of 3 .* give all parts .* add --complete/),
    });
    await expect(bench.ingest(tenantId, [part, first])).rejects.toMatchObject({
      ...asPart,
      message: expect.stringContaining('part 3 of 3 is missing'),
    });
    const uploads = await bench.test
      .sql`select id from ingest_uploads where tenant_id = ${tenantId}`;
    expect(uploads).toHaveLength(0);
    expect(await bench.ingest(tenantId, part, undefined, true)).toMatchObject({ rows: 2 });
  });

  it.each([
    ['in the order of their uploads', [0, 1]],
    ['in the other order', [1, 0]],
  ])('is refused by its rows where its name says nothing, ingested %s', async (_name, order) => {
    const tenantId = await bench.addTenant();
    const { database } = bench;
    const uploadIds: string[] = [];
    for (const [name, rows] of [
      ['first.csv', days(1, 15)],
      ['second.csv', days(16, 30)],
    ] as const) {
      const path = await bench.file(name, focusFile(rows));
      uploadIds.push((await uploadFile({ database, tenantId, path, onReady: noJob })).uploadId);
    }
    const [now = '', later = ''] = order.map((index) => uploadIds[index] ?? '');
    expect(await bench.ingestUpload(tenantId, now)).toMatchObject({ rows: 15 });
    await expect(bench.ingestUpload(tenantId, later)).rejects.toMatchObject({
      ...asPart,
      message: expect.stringMatching(
        /billing period 2024-09-01, .* only 0 of 15 charges .* --source; .* --complete$/,
      ),
    });
    expect(await stored(tenantId)).toEqual({ rows: 15, cost: '15' });
    const [upload] = await bench.test.sql`
      select state, failure from ingest_uploads where id = ${later}::bigint`;
    expect(upload).toEqual({
      state: 'failed',
      failure: expect.stringContaining('Nothing was changed'),
    });
  });

  it.skipIf(absent !== '')(
    `of an export from the field is refused, renamed too${absent}`,
    async () => {
      const tenantId = await bench.addTenant();
      const [first = '', second = ''] = fieldParts;
      await expect(bench.ingest(tenantId, second)).rejects.toMatchObject(asPart);
      const renamed = [
        await bench.file('a.csv', await readFile(first)),
        await bench.file('b.csv', await readFile(second)),
      ];
      await bench.ingest(tenantId, renamed[0] ?? '');
      const before = await stored(tenantId);
      await expect(bench.ingest(tenantId, renamed[1] ?? '')).rejects.toMatchObject(asPart);
      expect(await stored(tenantId)).toEqual(before);
    },
  );
});

describe('a newer version of an export', () => {
  it('replaces the older one when it has grown, or its costs were corrected', async () => {
    const tenantId = await bench.addTenant();
    for (const [name, rows, cost] of [
      ['v1.csv', days(1, 10), '10'],
      ['v2.csv', days(1, 20), '20'],
      ['v3.csv', days(1, 20, '2'), '40'],
      ['v4.csv', days(6, 25), '20'],
    ] as const) {
      await bench.ingest(tenantId, await bench.file(name, focusFile(rows)));
      expect(await stored(tenantId)).toMatchObject({ cost });
    }
  });

  it('replaces it with other rows when the operator says that it is complete', async () => {
    const tenantId = await bench.addTenant();
    await bench.ingest(tenantId, await bench.file('old.csv', focusFile(days(1, 10))));
    const newer = await bench.file('new.csv', focusFile(days(11, 30)));
    expect(await bench.ingest(tenantId, newer, undefined, true)).toMatchObject({
      deliveries: [{ outcome: 'replaced' }],
    });
    expect(await stored(tenantId)).toEqual({ rows: 20, cost: '20' });
  });

  it('of another source does not meet it', async () => {
    const tenantId = await bench.addTenant();
    await bench.ingest(tenantId, await bench.file('one.csv', focusFile(days(1, 10))), 'one');
    await bench.ingest(tenantId, await bench.file('two.csv', focusFile(days(11, 30))), 'two');
    expect(await stored(tenantId)).toEqual({ rows: 30, cost: '30' });
  });
});
