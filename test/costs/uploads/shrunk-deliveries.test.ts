/** A newer file with less than the one that it replaces says so in its note; one of other charges is refused. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openBench } from '../../handlers/handler-bench.ts';
import type { HandlerBench } from '../../handlers/handler-bench.ts';
import { focusFile } from '../exports/focus/file.ts';

let bench: HandlerBench;
beforeAll(async () => {
  bench = await openBench();
});
afterAll(() => bench.close());

type Values = Readonly<Record<string, string>>;
const rows = (count: number, more: (index: number) => Values): Values[] =>
  Array.from({ length: count }, (_, index) => more(index));
const resources = (count: number, from = 0): Values[] =>
  rows(count, (index) => ({ ResourceId: `r${from + index}` }));

async function replace(older: readonly Values[], newer: readonly Values[]) {
  const tenantId = await bench.addTenant();
  await bench.ingest(tenantId, await bench.file('a.csv', focusFile(older)));
  return bench.ingest(tenantId, await bench.file('b.csv', focusFile(newer)));
}

it.each([
  ['half of its charges', resources(10), resources(5), /had 10 rows, and this one has 5; 5 of 10 /],
  [
    'as many rows and other charges',
    resources(10),
    resources(10, 4),
    /had 10 rows, and this one has 10; 4 of 10 charges that were compared are no longer in it/,
  ],
  [
    'fewer rows of one charge',
    rows(10, () => ({})),
    rows(9, () => ({})),
    /had 10 rows, and this one has 9; if the file is cut/,
  ],
])('a file with %s is noted', async (_, older, newer, note) => {
  const result = await replace(older, newer);
  expect(result).toMatchObject({
    deliveries: [{ outcome: 'replaced' }],
    note: expect.stringMatching(
      /^the delivery of 2024-09-01 that this file replaces \(upload \d+, a\.csv\)/,
    ),
  });
  expect(result.note).toMatch(note);
});

it('a file with more charges, or corrected costs, has no note', async () => {
  expect((await replace(resources(10), resources(12))).note).toBeNull();
  const corrected = resources(10).map((row) => ({ ...row, BilledCost: '9' }));
  expect((await replace(resources(10), corrected)).note).toBeNull();
  expect((await replace(resources(20), resources(20, 1))).note).toBeNull();
});

it('charges without resources are told apart by their tags', async () => {
  const tagged = (from: number): Values[] =>
    rows(10, (index) => ({ Tags: `"{""id"": ""${from + index}""}"` }));
  await expect(replace(tagged(0), tagged(100))).rejects.toMatchObject({ code: 'export_parts' });
  expect(await replace(tagged(0), tagged(0).toReversed())).toMatchObject({ note: null });
});

describe('charges that nothing but their cost tells apart', () => {
  const cost = (BilledCost: string): Values => ({ BilledCost });
  const hundreds = rows(10, () => cost('100'));

  it.each([
    ['other amounts', rows(12, () => cost('7'))],
    ['few of the amounts', [...rows(3, () => cost('7')), ...rows(3, () => cost('9'))]],
  ])('a file with %s is refused', async (_, newer) => {
    await expect(replace(hundreds, newer)).rejects.toMatchObject({ code: 'export_parts' });
  });

  it('a file with most of the amounts replaces it', async () => {
    const older = rows(10, (index) => cost(`${index}.50`));
    const newer = rows(10, (index) => cost(index < 3 ? '99' : `${index}.5`));
    expect(await replace(older, newer)).toMatchObject({ deliveries: [{ outcome: 'replaced' }] });
  });
});

it('a file with less than half of the money is noted', async () => {
  const priced = (BilledCost: string): Values[] =>
    resources(10).map((row) => ({ ...row, BilledCost }));
  const { note } = await replace(priced('10'), priced('1.5'));
  expect(note).toContain('had 10 rows, and this one has 10; its sum is 15, where it was 100;');
  expect((await replace(priced('10'), priced('5'))).note).toBeNull();
  expect((await replace(priced('-10'), priced('-30'))).note).toBeNull();
});
