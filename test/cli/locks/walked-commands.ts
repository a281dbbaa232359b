/** Every command that uses the database, on a tenant that has something for it to do. */
import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setBudget } from '../../../src/budget/budgets.ts';
import { markUnknown } from '../../../src/budget/settle.ts';
import { EncryptionKeyManager } from '../../../src/crypto/keyring.ts';
import { generateSalt } from '../../../src/crypto/salt.ts';
import type { Sql } from '../../../src/db/connect.ts';
import { changeBreakers } from '../../../src/llm/breaker/store.ts';
import { curFile } from '../../costs/exports/aws-cur/file.ts';
import { addJob, finish, runningJob } from '../../jobs/job-steps.ts';
import { ownKeyContext } from '../../../src/llm/keys/own-key.ts';
import { reserve } from '../../support/holds.ts';
import { addDrainedWorker, walkedFleetCommands } from './fleet-commands.ts';
import { accessCommands, arrangeAccess } from './access-commands.ts';
import { addBatches, addEditable, walkedBatchCommands } from './batch-commands.ts';
import { addCorrectedCall, walkedMoneyCommands } from './walked-money.ts';
import { arrangeTenant, keyFailed, rotateAll } from '../../scheduler/arranged-tenant.ts';

export const keys = {
  ENCRYPTION_KEY: 'the second passphrase',
  ENCRYPTION_KEY_VERSION: '2',
  LEGACY_ENCRYPTION_KEYS: JSON.stringify([{ version: 1, key: 'the first passphrase' }]),
  KDF_SALT: generateSalt(),
};
const oldKeys = new EncryptionKeyManager({
  primary: { version: 1, key: 'the first passphrase', salt: keys.KDF_SALT },
});

const accountId = '000000000001';

/** A tenant with work for the fleet and for every command. */
export async function arrangeForOperator(sql: Sql) {
  const arranged = await arrangeTenant(sql);
  const { tenantId } = arranged;
  // A live worker, which `queues separate` refuses.
  await sql`delete from heartbeats where process_id = 'looks-up'`;
  const deadLetter = async (): Promise<string> => {
    const attempt = await runningJob(sql, tenantId);
    const error = { class: 'fatal', code: 'test', message: 'test' } as const;
    await finish(sql, attempt, { toState: 'dead_letter', error });
    return attempt.jobId;
  };
  const place = { tenantId, column: 'aws_accounts.credentials', purpose: 'api_key' } as const;
  const { ciphertext } = await oldKeys.encryptString('old', place);
  await sql`
    insert into aws_accounts (tenant_id, account_id, credentials, encryption_key_version)
    values (${tenantId}, ${accountId}, ${ciphertext}, 1)`;
  const own = await oldKeys.encryptString('a key to be removed', ownKeyContext(tenantId));
  await sql`
    insert into llm_provider_keys (tenant_id, provider, api_key, encryption_key_version, last_four, set_by)
    values (${tenantId}, 'anthropic', ${own.ciphertext}, 1, 'oved', 'test')`;
  const { reservationId: unknownHold } = await reserve(sql, arranged.attempt, '0.1');
  await markUnknown(sql, { reservationId: unknownHold });
  await changeBreakers(sql, [keyFailed(arranged)], 'test');
  await addCorrectedCall(sql, arranged.attempt);
  // Without a schedule, which would give it a job.
  await sql`insert into tenants (id, plan) values (${`${tenantId}-closed`}, 'free')`;
  await sql`delete from tenant_schedules where tenant_id = ${`${tenantId}-closed`}`;
  // With a budget, which a limit over all tenants would give it meanwhile.
  await setBudget(sql, { tenantId: `${tenantId}-closed`, monthlyLimitUsd: '1', hard: true });
  await arrangeAccess(sql, tenantId);
  const made = {
    drained: await addDrainedWorker(sql, tenantId),
    unknownHold,
    toCancel: await addJob(sql, tenantId),
    toReplay: await deadLetter(),
    toDiscard: await deadLetter(),
    toEdit: await addEditable(sql, tenantId),
    inBatch: await deadLetter(),
    batches: await addBatches(sql),
  };
  return { ...arranged, ...made, rotated: await rotateAll(sql, tenantId) };
}

export type ForOperator = Awaited<ReturnType<typeof arrangeForOperator>>;

export interface WalkedCommand {
  readonly path: string;
  /** Only reads: no lock of a row can keep it, so it is run against the locks of tables only. */
  readonly reads?: boolean;
  /** Entries of `systemStatements` that it runs. */
  readonly covers?: readonly string[];
  readonly args?: (tenant: ForOperator, file: string) => readonly string[];
  /** What it prints where it ends well with exit code 1. */
  readonly finds?: RegExp;
}

const ofTenant = ({ tenantId }: ForOperator): string[] => ['--tenant', tenantId];

export const walkedCommands: readonly WalkedCommand[] = [
  {
    path: 'tenants add',
    covers: ['operations/tenants/add.ts insertTenant', 'operations/audit.ts recordAct'],
    args: ({ tenantId }) => [`${tenantId}-branch`, '--plan', 'pro'],
  },
  { path: 'tenants list', reads: true },
  {
    path: 'tenants set-plan',
    covers: ['operations/tenants/plans.ts setPlanAs'],
    args: ({ tenantId }) => [tenantId, 'enterprise'],
  },
  {
    path: 'tenants set-limits',
    covers: [
      'operations/tenants/limits.ts lockOwnLimits',
      'operations/tenants/limits.ts updateLimits',
    ],
    args: ({ tenantId }) => [tenantId, '--weight', '2'],
  },
  {
    path: 'accounts add',
    covers: ['operations/accounts.ts addAccountAs'],
    args: (tenant) => [...ofTenant(tenant), '--account-id', '000000000002'],
  },
  { path: 'accounts list', reads: true },
  {
    path: 'accounts remove',
    covers: ['operations/accounts.ts removeAccountAs'],
    args: (tenant) => [...ofTenant(tenant), '--account-id', accountId],
  },
  {
    path: 'ingest',
    covers: [
      'costs/uploads/uploads.ts abandonUploads',
      'costs/uploads/uploads.ts makeReady',
      'db/tenant.ts closeOperatorToken',
      'db/tenant.ts openOperatorToken',
      'jobs/enqueue.ts enqueueAlone',
      'schedules/first-run.ts delayFirstRuns',
      'schedules/first-run.ts endFirstRunDelay',
    ],
    args: ({ tenantId }, file) => ['--tenant', tenantId, '--file', file],
  },
  {
    path: 'ingest',
    covers: ['costs/uploads/earlier-exports.ts passGate'],
    args: ({ tenantId }, file) => {
      const column = 'lineItem/UsageAccountId';
      const ofMany = join(dirname(file), `${tenantId}.csv`);
      writeFileSync(ofMany, curFile([{ [column]: tenantId }]));
      return ['--tenant-column', column, '--file', ofMany];
    },
  },
  {
    path: 'enqueue',
    args: (tenant) => ['test_step', ...ofTenant(tenant), '--dedup-key', 'fresh'],
  },
  { path: 'jobs list', reads: true },
  { path: 'jobs show', reads: true, args: ({ running }) => [running.jobId] },
  {
    path: 'jobs cancel',
    covers: ['jobs/cancel.ts cancelOrAsk'],
    args: ({ toCancel }) => [toCancel, '--reason', 'walk'],
  },
  { path: 'dlq list', reads: true },
  { path: 'dlq groups', reads: true },
  { path: 'dlq show', reads: true, args: ({ toReplay }) => [toReplay] },
  {
    path: 'dlq replay',
    covers: ['jobs/dead-letters.ts replayDeadLetter'],
    args: ({ toReplay }) => [toReplay, '--reason', 'walk'],
  },
  {
    path: 'dlq discard',
    covers: ['jobs/dead-letters.ts discardDeadLetter'],
    args: ({ toDiscard }) => [toDiscard, '--reason', 'walk'],
  },
  ...walkedBatchCommands,
  {
    path: 'pause',
    covers: ['jobs/pauses.ts addPause'],
    args: (tenant) => [...ofTenant(tenant), '--reason', 'walk'],
  },
  { path: 'pauses', reads: true },
  { path: 'audit', reads: true },
  { path: 'resume', covers: ['jobs/pauses.ts resumeWork'], args: ofTenant },
  ...walkedFleetCommands,
  { path: 'schedules list', reads: true },
  {
    path: 'schedules set',
    covers: ['schedules/settings.ts lockCohortSchedule', 'schedules/settings.ts setCohortSchedule'],
    args: () => ['finops_analysis', '--cohort', 'active', '--cron', '0 */4 * * *'],
  },
  {
    path: 'schedules set',
    covers: ['schedules/settings.ts lockOverride', 'schedules/settings.ts setOverride'],
    args: (tenant) => ['finops_analysis', ...ofTenant(tenant), '--cron', '0 */2 * * *'],
  },
  {
    path: 'schedules pause',
    covers: ['schedules/pauses.ts lockSchedules', 'schedules/pauses.ts pauseTenantSchedule'],
    args: (tenant) => ['finops_analysis', ...ofTenant(tenant), '--reason', 'walk'],
  },
  {
    path: 'schedules resume',
    covers: ['schedules/pauses.ts resumeTenantSchedule'],
    args: (tenant) => ['finops_analysis', ...ofTenant(tenant)],
  },
  {
    path: 'schedules pause',
    covers: ['schedules/pauses.ts pauseCohortSchedules'],
    args: () => ['finops_analysis', '--cohort', 'dormant', '--reason', 'walk'],
  },
  {
    path: 'schedules resume',
    covers: ['schedules/pauses.ts resumeCohortSchedules'],
    args: () => ['finops_analysis', '--cohort', 'dormant'],
  },
  {
    path: 'schedules run',
    args: (tenant) => ['finops_analysis', ...ofTenant(tenant)],
  },
  { path: 'schedules next', reads: true, args: () => ['finops_analysis'] },
  {
    path: 'limits set',
    covers: ['jobs/limits/job-limits.ts lockJobLimit', 'jobs/limits/job-limits.ts setJobLimit'],
    args: (tenant) => [...ofTenant(tenant), '--running', '1000'],
  },
  { path: 'limits list', reads: true },
  {
    path: 'limits clear',
    covers: ['jobs/limits/job-limits.ts clearJobLimit'],
    args: ofTenant,
  },
  {
    path: 'limits set',
    covers: ['jobs/limits/plan-limits.ts lockPlanLimit', 'jobs/limits/plan-limits.ts setPlanLimit'],
    args: () => ['--plan', 'growth', '--starts', '1000', '--per', '1d'],
  },
  {
    path: 'limits clear',
    covers: ['jobs/limits/plan-limits.ts clearPlanLimit'],
    args: () => ['--plan', 'growth'],
  },
  {
    path: 'queues separate',
    covers: ['db/fleet-id.ts renewFleetId'],
    args: () => ['--yes'],
  },
  ...walkedMoneyCommands,
  ...accessCommands,
  { path: 'keys status', reads: true },
  { path: 'keys rotate', covers: ['jobs/rotation.ts startRotation'] },
  // No process lives, and jobs wait.
  { path: 'doctor', reads: true, finds: /\d+ checks, 3 failed/ },
  { path: 'why', reads: true, args: ({ toCancel }) => [toCancel] },
  { path: 'migrate status', reads: true },
];
