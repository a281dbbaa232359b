/** The demo's data set: the given FOCUS file or a generated one, uploaded for the tenants that it names. */
import { createWriteStream } from 'node:fs';
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setBudgetAs } from '../../operations/money/budget.ts';
import { sampleFocusFile } from '../../costs/sample/data.ts';
import { uploadByTenantColumn } from '../../costs/uploads/tenants.ts';
import type { SplitResult } from '../../costs/uploads/tenants.ts';
import type { Database } from '../../db/database.ts';
import { PurserError } from '../../errors.ts';
import { makeDataFolder } from '../../db/embedded/make-folder.ts';
import { enqueueIngestion } from '../commands/ingest.ts';
import { operatorName } from '../terminal/operator-name.ts';
import { operatorOf } from '../terminal/operator-options.ts';
import { ensureTenant } from '../runtime/ensure-tenant.ts';
import type { Invocation } from '../terminal/command.ts';
import { inputFile } from '../terminal/input-file.ts';
import { progressBar } from '../terminal/progress.ts';
import type { DemoRun } from './database.ts';

const tenantColumn = 'SubAccountId';
const maxFaultsShown = 20;

/** Tenants get these plans in turn. */
const plans = ['enterprise', 'growth', 'starter', 'pro', 'free'] as const;

/** Every third tenant was last active on this day, so that the cohort `dormant` is not empty. */
const longAgo = new Date('2026-01-01T00:00:00Z');

/** Returns the path of the given file, or of the generated one, whose bytes are the same in every run. */
export async function chooseFile(invocation: Invocation, dataDir: string): Promise<string> {
  const given = invocation.value('focus');
  if (given !== undefined) return inputFile(given);
  const path = join(dataDir, 'sample-focus.csv');
  await makeDataFolder(dataDir, 0o711);
  await pipeline(Readable.from(sampleFocusFile()), createWriteStream(`${path}.new`));
  await rename(`${path}.new`, path);
  invocation.note(`generated a FOCUS export of twelve made-up companies: ${path}`);
  return path;
}

/** Uploads the file and adds its tenants. The first tenant gets a budget of zero, so that its analysis is refused. */
export async function uploadDataSet(
  { invocation, lifecycle }: DemoRun,
  database: Database,
  path: string,
): Promise<SplitResult> {
  const bar = progressBar(invocation, 'uploading');
  let tenants = 0;
  const result = await uploadByTenantColumn({
    database,
    path,
    column: tenantColumn,
    onReady: enqueueIngestion,
    onProgress: (done, total) => {
      if (lifecycle.stopSignal.aborted) {
        throw new PurserError('interrupted', 'stopped while uploading');
      }
      bar.update(done, total);
    },
    ensureTenant: async (sql, tenantId) => {
      const index = tenants;
      tenants += 1;
      const added = await ensureTenant(sql, tenantId, {
        create: true,
        plan: plans[index % plans.length],
        lastActiveAt: index % 3 === 2 ? longAgo : new Date(),
      });
      if (added && index === 0) {
        await setBudgetAs(sql, operatorOf(operatorName()), {
          tenantId,
          monthlyLimitUsd: '0',
          hard: true,
        });
      }
    },
  }).finally(bar.end);
  for (const fault of result.faults.slice(0, maxFaultsShown)) {
    invocation.note(`line ${fault.line}, ${fault.column ?? 'row'}: ${fault.reason}`);
  }
  return result;
}
