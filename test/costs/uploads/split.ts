/** Exports of many tenants, uploaded and ingested. */
import { ensureTenant } from '../../../src/cli/runtime/ensure-tenant.ts';
import type { IngestionResult } from '../../../src/costs/uploads/ingest.ts';
import { uploadByTenantColumn } from '../../../src/costs/uploads/tenants.ts';
import type { SplitRequest, SplitResult } from '../../../src/costs/uploads/tenants.ts';
import { noJob } from '../../handlers/handler-bench.ts';
import type { HandlerBench } from '../../handlers/handler-bench.ts';
import { focusFileWith } from '../exports/focus/file.ts';

export type Values = Readonly<Record<string, string>>;

let accounts = 0;

/** Makes files of a billing account of its own. */
export function newBill(): (rows: readonly Values[]) => string {
  accounts += 1;
  const BillingAccountId = String(100_000_000_000 + accounts);
  return (rows) =>
    focusFileWith(
      ['SubAccountId'],
      rows.map((row) => ({ BillingAccountId, ...row })),
    );
}

/** Splits by SubAccountId, and adds missing tenants. */
export function splitFile(
  bench: HandlerBench,
  path: string,
  more: Partial<SplitRequest> = {},
): Promise<SplitResult> {
  return uploadByTenantColumn({
    database: bench.database,
    path,
    column: 'SubAccountId',
    ensureTenant: async (sql, id) => {
      await ensureTenant(sql, id, { create: true });
    },
    onReady: noJob,
    ...more,
  });
}

/** Ingests every upload of an export. */
export async function ingestSplit(
  bench: HandlerBench,
  { uploads, emptied }: SplitResult,
): Promise<IngestionResult[]> {
  const ids = new Map([...uploads, ...emptied].map((each) => [each.uploadId, each.tenantId]));
  const results: IngestionResult[] = [];
  for (const [uploadId, tenantId] of ids) {
    results.push(await bench.ingestUpload(tenantId, uploadId));
  }
  return results;
}
