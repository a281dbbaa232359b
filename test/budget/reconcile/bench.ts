/** Reconciles a text as the command does: through a file. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect } from 'vitest';
import { parseAmount } from '../../../src/budget/reconcile/amounts.ts';
import { reconcile } from '../../../src/budget/reconcile/reconcile.ts';
import type { ReconcileRequest } from '../../../src/budget/reconcile/reconcile.ts';
import type { Reconciliation } from '../../../src/budget/reconcile/result.ts';
import { openProviderFile } from '../../../src/cli/commands/budget/provider-file.ts';
import type { Sql } from '../../../src/db/connect.ts';

export interface FileFolder {
  /** Writes a file into the folder of the test file. */
  readonly write: (name: string, content: string | Buffer) => Promise<string>;
}

export function useFolder(): FileFolder {
  let folder = '';
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'purser-reconcile-'));
  });
  afterAll(() => rm(folder, { recursive: true }));
  return {
    write: async (name, content) => {
      const path = join(folder, name);
      await writeFile(path, content);
      return path;
    },
  };
}

export async function reconcileText(
  sql: Sql,
  { write }: FileFolder,
  text: string | Buffer,
  request: Omit<ReconcileRequest, 'file'>,
): Promise<Reconciliation> {
  const file = await openProviderFile(await write('file', text));
  try {
    const found = await reconcile(sql, { ...request, file });
    expectAddsUp(found);
    return found;
  } finally {
    await file.close();
  }
}

export const attoOfUsd = (usd: string): bigint => parseAmount(usd)?.atto ?? 0n;

/** The drift is what the sums differ by, and its parts add up to it, all exactly. */
function expectAddsUp({ driftUsd, fileUsd, ledgerUsd, drift }: Reconciliation): void {
  expect(attoOfUsd(driftUsd)).toBe(attoOfUsd(fileUsd) - attoOfUsd(ledgerUsd));
  expect(drift.reduce((sum, { usd }) => sum + attoOfUsd(usd), 0n)).toBe(attoOfUsd(driftUsd));
}

/** The drift by reason, exact. */
export const driftOf = ({ drift }: Reconciliation): Record<string, string> =>
  Object.fromEntries(drift.map(({ reason, usd }) => [reason, usd]));
