/** `purser ingest`: uploads a cost export in compressed chunks and enqueues its ingestion. */
import type { Tx } from '../db/connect.ts';
import { exitCodes, UsageError } from '../errors.ts';
import { uploadByTenantColumn } from '../handlers/tenant-uploads.ts';
import type { SplitResult } from '../handlers/tenant-uploads.ts';
import { uploadFile } from '../handlers/uploads.ts';
import type { ReadyUpload } from '../handlers/uploads.ts';
import { enqueue } from '../jobs/enqueue.ts';
import { releaseFirstRuns } from '../schedules/first-run.ts';
import type { Command, Invocation } from './command.ts';
import { jsonOption } from './command.ts';
import { ensureTenant } from './ensure-tenant.ts';
import { inputFile } from './input-file.ts';
import { progressBar } from './progress.ts';
import { withDatabase } from './with-system.ts';

/** The ingestion of an upload, in the transaction that makes the upload ready. */
export async function enqueueIngestion(tx: Tx, upload: ReadyUpload): Promise<void> {
  await enqueue(tx, {
    tenantId: upload.tenantId,
    jobType: 'cost_ingestion',
    payload: { uploadId: upload.uploadId },
    dedupKey: `upload:${upload.uploadId}`,
    priority: 10,
  });
  await releaseFirstRuns(tx, upload.tenantId);
}

async function run(invocation: Invocation): Promise<number> {
  const tenantId = invocation.value('tenant');
  const column = invocation.value('tenant-column');
  if ((tenantId === undefined) === (column === undefined)) {
    throw new UsageError(
      'say whose file it is: --tenant T, or --tenant-column SubAccountId for a file of many tenants',
    );
  }
  if (invocation.flag('create-tenants') && column === undefined) {
    throw new UsageError('--create-tenants goes with --tenant-column');
  }
  const path = await inputFile(invocation.required('focus'));
  const bar = progressBar(invocation, 'uploading');
  const common = {
    path,
    source: invocation.value('source'),
    onReady: enqueueIngestion,
    onProgress: bar.update,
  };
  return withDatabase(
    invocation.config(),
    async ({ database }) => {
      if (tenantId !== undefined) {
        const upload = await uploadFile({ ...common, database, tenantId }).finally(bar.end);
        if (invocation.flag('json')) invocation.print(JSON.stringify({ tenantId, ...upload }));
        else {
          invocation.print(
            upload.skipped
              ? `this file is already there for tenant ${tenantId} (upload ${upload.uploadId}): nothing to add`
              : `upload ${upload.uploadId} ready for tenant ${tenantId}: ${upload.byteCount} bytes, ingestion enqueued`,
          );
        }
        return exitCodes.ok;
      }
      const split = await uploadByTenantColumn({
        ...common,
        database,
        column: column ?? '',
        ensureTenant: async (sql, id) => {
          await ensureTenant(sql, id, { create: invocation.flag('create-tenants') });
        },
      }).finally(bar.end);
      return reportSplit(invocation, split);
    },
    3,
  );
}

function reportSplit(invocation: Invocation, split: SplitResult): number {
  if (invocation.flag('json')) invocation.print(JSON.stringify(split));
  else {
    const skipped = split.uploads.filter((upload) => upload.skipped).length;
    invocation.print(
      `${split.rows} rows of ${split.uploads.length} tenants uploaded` +
        (skipped === 0 ? '' : `, ${skipped} of them had this file already`),
    );
  }
  for (const fault of split.faults.slice(0, 20)) {
    invocation.note(`line ${fault.line}, ${fault.column ?? 'row'}: ${fault.reason}`);
  }
  if (split.errors > 0)
    invocation.note(`${split.errors} rows belong to no tenant and were left out`);
  return split.errors === 0 ? exitCodes.ok : exitCodes.failed;
}

export const ingestCommands: readonly Command[] = [
  {
    path: 'ingest',
    summary: 'upload a FOCUS 1.0 to 1.2 CSV (plain or gzip) and enqueue its ingestion',
    options: {
      focus: { value: 'FILE', help: 'the export', required: true },
      tenant: { value: 'T', help: 'all rows belong to this tenant' },
      'tenant-column': {
        value: 'COLUMN',
        help: 'the column that names the tenant, e.g. SubAccountId',
      },
      'create-tenants': { help: 'add tenants that are not there yet (plan free)' },
      source: {
        value: 'NAME',
        help: 'name of this export; a newer file of the same source and period replaces the older one',
      },
      json: jsonOption,
    },
    run,
  },
];
