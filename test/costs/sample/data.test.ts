import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'csv-parse/sync';
import { describe, expect, it } from 'vitest';
import { plantedFindings, sampleFocusFile, writeSample } from '../../../src/costs/sample/data.ts';

function bytesOf(options: Parameters<typeof sampleFocusFile>[0] = {}): Buffer {
  return Buffer.concat([...sampleFocusFile(options)]);
}

function rowsOf(bytes: Buffer): Record<string, string>[] {
  return parse(bytes, { columns: true });
}

function hash(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

describe('the sample export', () => {
  it('has the same bytes every time, and others with another seed', () => {
    expect(hash(bytesOf())).toBe(hash(bytesOf()));
    expect(hash(bytesOf())).not.toBe(hash(bytesOf({ seed: 1 })));
  });

  it('has twelve tenants and ninety days, weekends cheaper than weekdays', () => {
    const rows = rowsOf(bytesOf());
    expect(new Set(rows.map((row) => row['SubAccountId'])).size).toBe(12);
    const days = new Map<string, number>();
    for (const { ChargePeriodStart: day = '', BilledCost: cost } of rows) {
      days.set(day.slice(0, 10), (days.get(day.slice(0, 10)) ?? 0) + Number(cost));
    }
    expect([days.size, [...days.keys()].at(0), [...days.keys()].at(-1)]).toEqual([
      90,
      '2026-07-03',
      '2026-09-30',
    ]);
    const costs = (weekend: boolean): number[] =>
      [...days]
        .filter(([day]) => [0, 6].includes(new Date(`${day}T00:00:00Z`).getUTCDay()) === weekend)
        .map(([, cost]) => cost)
        .toSorted((a, b) => a - b);
    expect(costs(true).at(13)).toBeLessThan(costs(false).at(5) ?? 0);
  });

  it('grows with its scale and keeps its planted resources', () => {
    const rows = rowsOf(bytesOf({ days: 2, scale: 3 }));
    expect(rows.length).toBeGreaterThan(2.5 * rowsOf(bytesOf({ days: 2 })).length);
    const ids = new Set(rows.map((row) => row['ResourceId']));
    const { idle } = plantedFindings({ scale: 3 });
    expect(idle.length).toBeGreaterThanOrEqual(10);
    expect(idle.every(({ resourceId }) => ids.has(resourceId))).toBe(true);
  });

  it('is written as a whole, and returns the number of its rows and tenants', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'purser-sample-'));
    try {
      const path = join(folder, 'new', 'sample.csv');
      const written = await writeSample(path, { days: 3 });
      const bytes = await readFile(path);
      expect(bytes.equals(bytesOf({ days: 3 }))).toBe(true);
      expect(written).toEqual({ rows: rowsOf(bytes).length, tenants: 12 });
      expect(await readdir(join(folder, 'new'))).toEqual(['sample.csv']);
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});
