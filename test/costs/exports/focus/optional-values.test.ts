import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { focusFile, focusFileWith } from './file.ts';
import { openBench, storedFaults } from '../../../handlers/handler-bench.ts';
import type { HandlerBench } from '../../../handlers/handler-bench.ts';

let bench: HandlerBench;

beforeAll(async () => {
  bench = await openBench();
});
afterAll(async () => {
  await bench.close();
});

/** Tags in JSON with arrays inside arrays. */
const nested = (levels: number) => `"{""a"": ${'['.repeat(levels - 1)}${']'.repeat(levels - 1)}}"`;
const faultsOf = (tenantId: string) => storedFaults(bench, tenantId);

describe('an optional value that cannot be read', () => {
  it.each([
    ['a bad optional number', { ConsumedQuantity: 'many' }, 'ConsumedQuantity', /"many"/],
    ['a text of 70,000 bytes', { ResourceId: 'x'.repeat(70_000) }, 'ResourceId', /70000 bytes/],
    ['a NUL character', { ChargeDescription: 'a\u0000b' }, 'ChargeDescription', /NUL/],
    ['tags that are no JSON', { Tags: 'env=prod' }, 'Tags', /not a JSON object/],
    ['tags that are a list', { Tags: '[1]' }, 'Tags', /not a JSON object/],
    ['tags with a NUL', { Tags: String.raw`"{""a"": ""\u0000""}"` }, 'Tags', /cannot be stored/],
    [
      'tags with half a pair',
      { Tags: String.raw`"{""a"": ""\ud800""}"` },
      'Tags',
      /cannot be stored/,
    ],
    ['tags that are nested deep', { Tags: nested(8_000) }, 'Tags', /nested more than 100 levels/],
    [
      'an account id of a spreadsheet',
      { SubAccountId: '1.23457E+12' },
      'SubAccountId',
      /spreadsheet/,
    ],
    ['a text that is not UTF-8', { ResourceId: 'M\u00fcnch' }, 'ResourceId', /not UTF-8/],
    ['an effective cost', { EffectiveCost: '1.25 EUR' }, 'EffectiveCost', /not a decimal/],
  ])(
    '%s: the row and its cost are stored, and the value is reported',
    async (_name, values, column, reason) => {
      const tenantId = await bench.addTenant();
      const content = Buffer.from(focusFileWith(['SubAccountId'], [{}, values, {}]), 'latin1');
      const result = await bench.ingest(tenantId, await bench.file(`${tenantId}.csv`, content));
      expect(result).toMatchObject({
        rows: 3,
        errors: 0,
        warnings: 1,
        billedCost: [{ billedCost: '3.75' }],
        note: expect.stringContaining(
          `1 row was stored without a value that cannot be read, the first at line 3, ${column}; why`,
        ),
      });
      expect(await faultsOf(tenantId)).toEqual([
        { line: 3, column_name: column, reason: expect.stringMatching(reason) },
      ]);
    },
  );

  it('is none in tags of 100 levels, whatever brackets their texts have', async () => {
    const tenantId = await bench.addTenant();
    const rows = [{ Tags: nested(100) }, { Tags: `"{""a"": ""${'[{'.repeat(200)}""}"` }];
    const path = await bench.file('nested.csv', focusFile(rows));
    expect(await bench.ingest(tenantId, path)).toMatchObject({ rows: 2, errors: 0, warnings: 0 });
  });

  it('does not push rejected rows out of the report', async () => {
    const tenantId = await bench.addTenant();
    const rows = [...Array.from({ length: 1100 }, () => ({ Tags: 'none' })), { BilledCost: 'x' }];
    const result = await bench.ingest(tenantId, await bench.file('both.csv', focusFile(rows)));
    expect(result).toMatchObject({ rows: 1100, errors: 1, warnings: 1100 });
    expect(result.note).toMatch(/^1 row was left out, .*; 1100 rows were stored without a value/);
    const faults = await faultsOf(tenantId);
    expect(faults).toHaveLength(1000);
    expect(faults).toContainEqual(
      expect.objectContaining({ line: 1102, column_name: 'BilledCost' }),
    );
  });
});
