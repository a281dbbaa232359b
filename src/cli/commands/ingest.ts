/** `purser ingest`: uploads a cost export in compressed chunks and enqueues its ingestion. */
import { requireBuiltins } from '../../builtins.ts';
import type { Tx } from '../../db/connect.ts';
import { exitCodes, UsageError } from '../../errors.ts';
import { formatChoices, isFormatChoice } from '../../costs/exports/formats.ts';
import type { FormatChoice } from '../../costs/exports/formats.ts';
import { uploadByTenantColumn } from '../../costs/uploads/tenants.ts';
import type { EmptiedBill, SplitResult } from '../../costs/uploads/tenants.ts';
import { ingestionKey, uploadFile } from '../../costs/uploads/uploads.ts';
import type { ReadyUpload } from '../../costs/uploads/uploads.ts';
import { enqueue } from '../../jobs/enqueue.ts';
import { endFirstRunDelay } from '../../schedules/first-run.ts';
import type { Command, Invocation } from '../terminal/command.ts';
import { jsonOption } from '../terminal/command.ts';
import { withExport } from './ingest/files.ts';
import { ensureTenant } from '../runtime/ensure-tenant.ts';
import { actOf, byOption } from '../terminal/operator-options.ts';
import { progressBar } from '../terminal/progress.ts';
import { withDatabase } from '../runtime/with-database.ts';

/** Enqueues the ingestion of an upload, in the transaction that makes the upload ready. */
export async function enqueueIngestion(tx: Tx, upload: ReadyUpload): Promise<void> {
  await enqueue(tx, {
    tenantId: upload.tenantId,
    jobType: 'cost_ingestion',
    payload: { uploadId: upload.uploadId },
    dedupKey: ingestionKey(upload.uploadId),
    priority: 10,
  });
  await endFirstRunDelay(tx, upload.tenantId);
}

function formatOf(invocation: Invocation): FormatChoice {
  const format = invocation.value('format') ?? 'auto';
  if (isFormatChoice(format)) return format;
  throw new UsageError(
    `there is no format ${JSON.stringify(format)}; use ${formatChoices.join(', ')}`,
  );
}

async function run(invocation: Invocation): Promise<number> {
  requireBuiltins('ingest', ['cost_ingestion'], invocation.config().PURSER_BUILTINS);
  const tenantId = invocation.value('tenant');
  const column = invocation.value('tenant-column');
  if ((tenantId === undefined) === (column === undefined)) {
    throw new UsageError(
      'name the tenant: --tenant T, or --tenant-column SubAccountId for a file of many tenants',
    );
  }
  if (invocation.flag('create-tenants') && column === undefined) {
    throw new UsageError('--create-tenants needs --tenant-column');
  }
  const format = formatOf(invocation);
  return withExport(invocation, (path) => upload(invocation, path, format));
}

/** Uploads the files, for the tenant or by the column that the options name. */
async function upload(
  invocation: Invocation,
  path: readonly string[],
  format: FormatChoice,
): Promise<number> {
  const tenantId = invocation.value('tenant');
  const column = invocation.value('tenant-column');
  const { operator } = actOf(invocation);
  const bar = progressBar(invocation, 'uploading');
  const common = {
    path,
    format,
    complete: invocation.flag('complete'),
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
              ? `tenant ${tenantId} already has this file (upload ${upload.uploadId}); nothing was added`
              : `upload ${upload.uploadId} ready for tenant ${tenantId}: ${upload.byteCount} bytes, ingestion enqueued`,
          );
        }
        noteLineEnds(invocation, upload.withoutLineEnd);
        return exitCodes.ok;
      }
      const split = await uploadByTenantColumn({
        ...common,
        database,
        column: column ?? '',
        ensureTenant: async (sql, id) => {
          await ensureTenant(sql, id, { create: invocation.flag('create-tenants'), operator });
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
        (skipped === 0 ? '' : `, ${skipped} of them already had this file`),
    );
  }
  noteLineEnds(invocation, split.withoutLineEnd);
  for (const fault of split.faults.slice(0, 20)) {
    invocation.note(`line ${fault.line}, ${fault.column ?? 'row'}: ${fault.reason}`);
  }
  if (split.errors > 0) invocation.note(`${split.errors} rows name no tenant and were left out`);
  for (const bill of split.emptied.slice(0, maxNotedBills)) invocation.note(describeEmptied(bill));
  if (split.emptied.length > maxNotedBills) {
    invocation.note(`${split.emptied.length} such bills in all; --json lists them`);
  }
  return split.errors === 0 ? exitCodes.ok : exitCodes.failed;
}

function noteLineEnds(invocation: Invocation, files: readonly string[]): void {
  for (const file of files) {
    invocation.note(
      `${file}: the last line has no line end. If the file is cut there, its last row may have a wrong value: ` +
        'compare its end with that of the export',
    );
  }
}

const maxNotedBills = 20;

function describeEmptied({ tenantId, uploadId, source, billingPeriod, rows }: EmptiedBill): string {
  return (
    `tenant ${tenantId} has ${rows === 1 ? '1 row' : `${rows} rows`} of ${source}, ${billingPeriod}, from an earlier ` +
    `export and none in this one: upload ${uploadId} removes them`
  );
}

export const ingestCommands: readonly Command[] = [
  {
    path: 'ingest',
    summary: 'upload a FOCUS or AWS CUR export (CSV, plain or gzip) and enqueue its ingestion',
    positionals: [
      {
        name: 'URL',
        help: 'the https URL of the export, e.g. a signed one of its bucket, instead of --file',
        required: false,
      },
    ],
    options: {
      file: {
        value: 'FILE',
        help: 'the export file, or its https URL; for an export in several files repeat the option, or give the manifest',
        repeats: true,
      },
      focus: { value: 'FILE', help: 'alias of --file', repeats: true },
      complete: {
        help: 'the file is a complete export; replace the earlier one even if name or rows suggest a part',
      },
      format: {
        value: 'FORMAT',
        help: 'focus, aws-cur, aws-cur-2, or auto: by the header (default)',
      },
      tenant: { value: 'T', help: 'tenant that owns all rows' },
      'tenant-column': {
        value: 'COLUMN',
        help: 'the column that names the tenant, e.g. SubAccountId or lineItem/UsageAccountId',
      },
      'create-tenants': { help: 'add missing tenants (plan free)' },
      by: byOption,
      source: {
        value: 'NAME',
        help: 'name of this export; a newer file of the same source and period replaces the older one',
      },
      private: {
        help: 'a URL may lead to an address of a private network; without it, only to the internet',
      },
      json: jsonOption,
    },
    run,
  },
];
