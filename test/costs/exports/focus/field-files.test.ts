/** Files from the field (absent from a fresh clone): every row's money counts, whatever its tags are. */
import { existsSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { openBench } from '../../../handlers/handler-bench.ts';
import type { HandlerBench } from '../../../handlers/handler-bench.ts';
import { exactSum } from '../exact-sum.ts';

const folder = '../shared/field';
const expectations = `${folder}/focus.expected.json`;
const expected = existsSync(expectations)
  ? z
      .record(z.string(), z.object({ rows: z.number(), billedCost: z.string() }))
      .parse(JSON.parse(readFileSync(expectations, 'utf8')))
  : {};

let bench: HandlerBench;
beforeAll(async () => {
  bench = await openBench();
});
afterAll(() => bench.close());

const absent = existsSync(expectations) ? '' : ` (skipped: ${folder} is not here)`;

describe.skipIf(absent !== '')(`a file from the field${absent}`, () => {
  it.each(Object.entries(expected))('%s gives all its rows', async (name, { rows, billedCost }) => {
    const tenantId = await bench.addTenant();
    const result = await bench.ingest(tenantId, `${folder}/${name}`);
    expect(result).toMatchObject({ rows, errors: 0 });
    expect(exactSum(result.billedCost.map((sum) => sum.billedCost))).toBe(exactSum([billedCost]));
  });
});
