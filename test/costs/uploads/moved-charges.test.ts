/** Charges that a corrected export moves to another bill are named, because nothing replaces them where they were. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openBench } from '../../handlers/handler-bench.ts';
import type { HandlerBench } from '../../handlers/handler-bench.ts';
import { focusFile } from '../exports/focus/file.ts';

let bench: HandlerBench;
beforeAll(async () => {
  bench = await openBench();
});
afterAll(() => bench.close());

type Values = Readonly<Record<string, string>>;
const accounts = { first: '111111111111', second: '222222222222' };
const charges = (BillingAccountId: string, from: number, more: Values = {}): Values[] =>
  Array.from({ length: 10 }, (_, index) => ({
    BillingAccountId,
    ResourceId: `r${from + index}`,
    ...more,
  }));

async function notes(...files: readonly (readonly Values[])[]): Promise<(string | null)[]> {
  const tenantId = await bench.addTenant();
  const found: (string | null)[] = [];
  for (const [index, rows] of files.entries()) {
    const path = await bench.file(`moved-${tenantId}-${'ab'[index] ?? 'c'}.csv`, focusFile(rows));
    found.push((await bench.ingest(tenantId, path)).note);
  }
  return found;
}

const two = [...charges(accounts.first, 0), ...charges(accounts.second, 10)];

it('to another account', async () => {
  const one = [...charges(accounts.first, 0), ...charges(accounts.first, 10)];
  const [, note] = await notes(two, one);
  expect(note).toMatch(
    /^the 10 charges of AWS\/222222222222 in 2024-09-01 \(upload \d+, .*\) are in this file under another billing account or period; .*delivery_id = \d+$/,
  );
  expect(await notes(two, two.toReversed())).toEqual([null, null]);
});

it('to another period', async () => {
  const october = { BillingPeriodStart: '2024-10-01', BillingPeriodEnd: '2024-11-01' };
  const before = [...charges(accounts.first, 0), ...charges(accounts.first, 10, october)];
  const after = [...charges(accounts.first, 0), ...charges(accounts.first, 10)];
  const [, note] = await notes(before, after);
  expect(note).toContain(
    'the 10 charges of AWS/123456789012'.replace('123456789012', accounts.first),
  );
  expect(note).toContain('in 2024-10-01');
});

it('but not charges of other resources, other amounts, or no money', async () => {
  const other = charges(accounts.first, 20);
  expect(await notes(two, [...charges(accounts.first, 0), ...other])).toEqual([null, null]);
  const priced = charges(accounts.first, 10, { BilledCost: '77' });
  expect(await notes(two, [...charges(accounts.first, 0), ...priced])).toEqual([null, null]);
  const free = charges(accounts.second, 10, { BilledCost: '0' });
  const freeAgain = charges(accounts.first, 10, { BilledCost: '0' });
  const first = charges(accounts.first, 0);
  expect(await notes([...first, ...free], [...first, ...freeAgain])).toEqual([null, null]);
});
