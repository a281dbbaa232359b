/**
 * The export that end-to-end tests ingest: the real sample if it exists on this machine, otherwise the generated
 * one. Test titles name which of them is used.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { copyFile, readFile, writeFile } from 'node:fs/promises';
import { parse } from 'csv-parse/sync';
import { sampleFocusFile } from '../../src/costs/sample/data.ts';
import { exactSum } from '../costs/exports/exact-sum.ts';

const real = '../shared/data/focus/focus_1.0_dev.csv';
export const hasRealFile = existsSync(real);
export const fileTitle = hasRealFile
  ? 'the real FOCUS sample'
  : `a generated export, because ${real} is not here`;

export interface CostFile {
  readonly rows: number;
  readonly tenants: readonly string[];
  readonly billedCostUsd: string;
  readonly sha256: string;
}

/** Writes the export to `path` and returns its contents as counted by a different CSV reader. */
export async function writeCostFile(path: string): Promise<CostFile> {
  if (hasRealFile) await copyFile(real, path);
  else await writeFile(path, sampleFocusFile());
  const bytes = await readFile(path);
  const rows: Record<string, string>[] = parse(bytes, { columns: true });
  return {
    rows: rows.length,
    tenants: [...new Set(rows.map((row) => row['SubAccountId'] ?? ''))].toSorted(),
    billedCostUsd: exactSum(rows.map((row) => row['BilledCost'] ?? '0')),
    sha256: createHash('sha256').update(bytes).digest('hex'),
  };
}
