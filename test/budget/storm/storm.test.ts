/** The storm of bench/money.ts in small: exact under races, kills and turning months (promises 1 and 4). */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { crashPoints } from './order.ts';
import { runStorm } from './storm.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase();
});
afterAll(() => database.close());

it(
  'processes that race, lose answers and are killed overspend nothing, leak no hold and lose no usage',
  { timeout: 120_000 },
  async () => {
    const operations = 3_000;
    const { book, bookAfterResolution, ...report } = await runStorm({
      url: database.url,
      sql: database.sql,
      operations,
      tenants: 40,
      processes: 2,
      lanes: 6,
      crashes: crashPoints.length,
      seed: Date.now(),
    });
    expect(report).toMatchObject({
      overspends: 0,
      overspentUsd: '0',
      leakedHolds: 0,
      // Every movement is written under its lock.
      outOfIdOrder: 0,
      months: 3,
      crashes: { reserved: 1, sent: 1, called: 1, settling: 1, anywhere: 1 },
      faults: [],
    });
    expect(report.operations).toBeGreaterThanOrEqual(operations);
    expect(book).toMatchObject({ lostUsage: 0, unbilled: 0 });
    const { spentNanoUsd, unknownNanoUsd, billNanoUsd, beyondHoldsNanoUsd } = book;
    expect(spentNanoUsd + unknownNanoUsd + beyondHoldsNanoUsd).toBeGreaterThanOrEqual(billNanoUsd);
    expect(bookAfterResolution).toMatchObject({
      lostUsage: 0,
      unbilled: 0,
      spentNanoUsd: billNanoUsd,
    });
  },
);
