/** An export of many tenants replaces earlier ones of its bills for all their tenants, or changes nothing. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { enqueueIngestion } from '../../../src/cli/commands/ingest.ts';
import type { IngestionResult } from '../../../src/costs/uploads/ingest.ts';
import type { SplitRequest, SplitResult } from '../../../src/costs/uploads/tenants.ts';
import { openBench } from '../../handlers/handler-bench.ts';
import type { HandlerBench } from '../../handlers/handler-bench.ts';
import { eventually } from '../../jobs/job-steps.ts';
import { curFile } from '../exports/aws-cur/file.ts';
import { ingestSplit, newBill, splitFile } from './split.ts';
import type { Values } from './split.ts';

let bench: HandlerBench;
beforeAll(async () => {
  bench = await openBench();
});
afterAll(() => bench.close());

let files = 0;

async function upload(text: string, more: Partial<SplitRequest> = {}): Promise<SplitResult> {
  files += 1;
  return splitFile(bench, await bench.file(`${files}.csv`, text), more);
}

const ingestAll = (result: SplitResult): Promise<IngestionResult[]> => ingestSplit(bench, result);

async function ingest(text: string, more: Partial<SplitRequest> = {}): Promise<SplitResult> {
  const result = await upload(text, more);
  await ingestAll(result);
  return result;
}

const of = (SubAccountId: string, ids: string, more: Values = {}): Values[] =>
  Array.from(ids, (ResourceId) => ({ SubAccountId, ResourceId, ...more }));

/** The resources that are stored of a tenant. */
async function stored(tenantId: string): Promise<string> {
  const rows = await bench.test.sql<{ id: string }[]>`
    select resource_id as id from cost_records where tenant_id = ${tenantId} order by 1`;
  return rows.map(({ id }) => id).join('');
}

describe('a tenant that a newer export lacks', () => {
  it('is named, and its charges are removed', async () => {
    const file = newBill();
    expect(await ingest(file([...of('a1', 'rst'), ...of('a2', 'xyz')]))).toMatchObject({
      emptied: [],
    });
    const newer = file(of('a1', 'rstu', { ProviderName: 'Amazon Web Services' }));
    const second = await upload(newer);
    expect(second).toMatchObject({ rows: 4, errors: 0, uploads: [{ tenantId: 'a1' }] });
    expect(second.emptied).toEqual([
      {
        tenantId: 'a2',
        uploadId: expect.stringMatching(/^\d+$/),
        source: 'AWS/100000000001',
        billingPeriod: '2024-09-01',
        rows: 3,
      },
    ]);
    expect((await ingestAll(second))[1]).toMatchObject({
      rows: 0,
      errors: 0,
      deliveries: [{ source: 'AWS/100000000001', billingPeriod: '2024-09-01', outcome: 'emptied' }],
      note: expect.stringContaining('no charges of this tenant in AWS/100000000001, 2024-09-01'),
    });
    expect([await stored('a1'), await stored('a2')]).toEqual(['rstu', '']);
    // Again: nothing to do. And a third export brings the tenant back.
    expect(await ingest(newer)).toMatchObject({ uploads: [{ skipped: true }], emptied: [] });
    await ingest(file([...of('a1', 'rstu'), ...of('a2', 'x')]));
    expect([await stored('a1'), await stored('a2')]).toEqual(['rstu', 'x']);
  });

  it('keeps its charges of other bills', async () => {
    const file = newBill();
    const october = { BillingPeriodStart: '2024-10-01' };
    await ingest(file([...of('b1', 'rstu'), ...of('b2', 'x')]));
    const { emptied, uploads } = await ingest(
      file([...of('b1', 'rstu'), ...of('b2', 'o', october)]),
    );
    expect(emptied).toMatchObject([{ tenantId: 'b2', billingPeriod: '2024-09-01', rows: 1 }]);
    expect(uploads.map(({ uploadId }) => uploadId)).toContain(emptied[0]?.uploadId);
    expect([await stored('b1'), await stored('b2')]).toEqual(['rstu', 'o']);
  });

  it('is found by the source of the operator, in a legacy CUR', async () => {
    const options = { source: 'cur', column: 'lineItem/UsageAccountId' };
    const cur = (...ids: string[]): string => curFile(ids.map((id) => ({ [options.column]: id })));
    await ingest(cur('c1', 'c2'), options);
    const { emptied } = await ingest(cur('c1'), options);
    expect(emptied).toMatchObject([{ tenantId: 'c2', source: 'cur' }]);
  });

  it('is not looked for among tenants that were ingested alone', async () => {
    const file = newBill();
    const alone = await bench.addTenant();
    await bench.ingest(alone, await bench.file('alone.csv', file(of('x', 'rs'))));
    expect((await ingest(file(of('d1', 'tu')))).emptied).toEqual([]);
    expect(await stored(alone)).toBe('rs');
  });
});

describe('an export of many tenants', () => {
  it('replaces a tenant that keeps few of its charges, if the whole repeats most', async () => {
    const file = newBill();
    await ingest(file([...of('e1', 'abcdefgh'), ...of('e2', 'rstuv')]));
    const result = await upload(file([...of('e1', 'abcdefgh'), ...of('e2', 'rxyz')]));
    expect(await ingestAll(result)).toMatchObject([
      { deliveries: [{ outcome: 'replaced' }], note: null },
      { deliveries: [{ outcome: 'replaced' }], note: expect.stringContaining('4 of 5 charges') },
    ]);
    expect(await stored('e2')).toBe('rxyz');
  });

  it.each([
    ['has other tenants', of('f9', 'abcdefgh'), /repeats only 0 of 8 charges/],
    ['has some of the tenants', of('f1', 'abc'), /repeats only 3 of 8 charges/],
  ])('is refused whole when it %s', async (_, rows, message) => {
    const file = newBill();
    await ingest(file([...of('f1', 'abc'), ...of('f2', 'defgh')]));
    await expect(upload(file(rows))).rejects.toMatchObject({
      code: 'export_parts',
      message: expect.stringMatching(message),
    });
    await expect(upload(file(rows))).rejects.toThrow(/for each \(--tenant\).*--source.*--complete/);
    expect(await bench.test.sql`select from ingest_uploads where state = 'ready'`).toHaveLength(0);
    expect([await stored('f1'), await stored('f2')]).toEqual(['abc', 'defgh']);
    await ingest(file(rows), { complete: true });
    expect([await stored('f2'), await stored(rows[0]?.['SubAccountId'] ?? '')]).toEqual([
      '',
      rows.map(({ ResourceId }) => ResourceId).join(''),
    ]);
  });

  const tags = (text: string): Values => ({ Tags: `"${text.replaceAll('"', '""')}"` });
  it.each([
    ['tags', tags('{"b": "1", "a": "2"}'), tags('{"a":"2","b":"1"}')],
    [
      'times',
      { ChargePeriodStart: '2024-09-01T00:00:00Z' },
      { ChargePeriodStart: '2024-09-01 00:00:00' },
    ],
  ])('is compared by its charges as they are stored: %s', async (_, older, newer) => {
    const file = newBill();
    await ingest(file([{ SubAccountId: 'g1', ...older }]));
    const { uploads } = await ingest(file([{ SubAccountId: 'g1', ...newer, BilledCost: '9' }]));
    expect(uploads).toMatchObject([{ skipped: false }]);
  });

  it('is compared by costs where nothing else tells charges apart', async () => {
    const file = newBill();
    const alike = (costs: readonly string[]): string =>
      file(costs.map((BilledCost) => ({ SubAccountId: 'n1', BilledCost })));
    await ingest(alike(['1.0', '2', '3', '4']));
    await expect(upload(alike(['5', '6', '7', '1']))).rejects.toThrow('repeats only 1 of 4');
    await ingest(alike(['1', '2', '9', '9']));
  });

  it('waits for the ingestion of an earlier one', async () => {
    const file = newBill();
    const rows = file([...of('h1', 'ab'), ...of('h2', 'cd')]);
    const first = await upload(rows, { onReady: enqueueIngestion });
    const [pending] = first.uploads;
    const newer = file(of('h1', 'ab'));
    await expect(upload(newer)).rejects.toMatchObject({
      code: 'export_pending',
      message: expect.stringMatching(
        new RegExp(`not ingested yet \\(upload ${pending?.uploadId}, .* of tenant h1\\)`),
      ),
    });
    await ingestAll(first);
    await ingest(newer);
    expect([await stored('h1'), await stored('h2')]).toEqual(['ab', '']);
  });

  it('that is complete replaces one that is not ingested yet, in any order', async () => {
    const file = newBill();
    const older = await upload(file([...of('i1', 'ab'), ...of('i2', 'cd')]));
    const newer = await upload(file(of('i1', 'x')), { complete: true });
    expect(newer.emptied).toMatchObject([{ tenantId: 'i2', rows: 2 }]);
    await ingestAll(newer);
    expect(await ingestAll(older)).toMatchObject([
      { deliveries: [{ outcome: 'superseded' }] },
      { deliveries: [{ outcome: 'superseded' }] },
    ]);
    expect([await stored('i1'), await stored('i2')]).toEqual(['x', '']);
  });

  it.each([false, true])(
    'and another that is uploaded meanwhile: one of them is refused (complete: %s)',
    async (complete) => {
      const file = newBill();
      const tenants = complete ? ['j1', 'j2'] : ['k1', 'k2'];
      const gate = await bench.test.sql.reserve();
      await gate`begin`;
      await gate`select from purser.split_gate for update`;
      const both = tenants.map((id) => upload(file(of(id, 'ab')), { complete }));
      const settled = Promise.allSettled(both);
      await eventually('both wait', async () => {
        const waiting = await bench.test.sql`
          select from pg_stat_activity
          where datname = current_database() and wait_event_type = 'Lock' and query like '%split_gate%'`;
        return waiting.length === 2 ? true : undefined;
      });
      await gate`commit`;
      gate.release();
      const results = await settled;
      expect(results.map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'rejected']);
      expect(results.find(({ status }) => status === 'rejected')).toMatchObject({
        reason: {
          code: 'export_pending',
          message: expect.stringContaining('became ready in the meantime'),
        },
      });
      for (const result of results) {
        if (result.status === 'fulfilled') await ingestAll(result.value);
      }
    },
  );

  it('does not replace what a tenant got alone from a file of other charges', async () => {
    const file = newBill();
    await bench.addTenant('l1');
    await bench.ingest('l1', await bench.file('own.csv', file(of('l1', 'abcd'))));
    const { uploads } = await upload(file([...of('l1', 'wxyz'), ...of('l2', 'rst')]));
    await expect(bench.ingestUpload('l1', uploads[0]?.uploadId ?? '')).rejects.toMatchObject({
      code: 'export_parts',
    });
    expect(await stored('l1')).toBe('abcd');
  });
});

it('a tenant does not choose which bills its upload decides', async () => {
  const file = newBill();
  const { uploads } = await upload(file(of('m1', 'a')));
  const uploadId = uploads[0]?.uploadId ?? '';
  await bench.asTenant('m1', async (sql) => {
    await sql`update ingest_uploads set bills = '[]' where id = ${uploadId}::bigint`;
    await sql`
      insert into ingest_uploads (tenant_id, file_name, file_hash, bills)
      values ('m1', 'own.csv', ${'0'.repeat(64)}, '["x"]')`;
  });
  const bills = await bench.test.sql`
    select bills from ingest_uploads where tenant_id = 'm1' order by id`;
  expect(bills.map((row) => row['bills'])).toEqual([
    [{ source: expect.stringMatching(/^AWS\//), billingPeriod: '2024-09-01', rows: 1 }],
    null,
  ]);
});
