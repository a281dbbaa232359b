/**
 * The whole path of a tenant's costs and money, once on each tenancy level: a file is ingested, its analysis
 * scheduled, held, asked of an OpenAI-compatible provider, settled and stored; credentials are kept encrypted;
 * and of all this another tenant sees nothing.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'csv-parse/sync';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { EncryptionKeyManager } from '../../src/crypto/keyring.ts';
import { openDatabase } from '../../src/db/database.ts';
import type { Database } from '../../src/db/database.ts';
import { closeOperatorToken, openOperatorToken, tenantSql } from '../../src/db/tenant.ts';
import type { TenantSql } from '../../src/db/tenant.ts';
import { sampleFocusFile } from '../../src/costs/sample/data.ts';
import { startRole, stopAll, untilAllEnded } from '../e2e/fleet.ts';
import type { Environment } from '../e2e/fleet.ts';
import { exactSum } from '../costs/exports/exact-sum.ts';
import { emptyDatabase } from '../support/database.ts';
import { runCli } from '../support/process.ts';
import { startProvider } from '../support/provider.ts';
import type { TestProvider } from '../support/provider.ts';

const apiKey = 'sk-test-pipeline-0123456789';
const secret = 'AKIAEXAMPLE:wJalrXUtnFEMI/EXAMPLEKEY';
const ours = '700000000102';
const theirs = '700000000105';
const answer = {
  summary: 'Storage costs doubled on one day. The rest is quiet.',
  anomalies: [
    { service: 'Storage', day: '2026-01-05', cost: 20, expected: 10, reason: 'twice the usual' },
  ],
  recommendations: [
    { title: 'Delete the idle disk', rationale: 'no reads', estimatedMonthlySavingsUsd: 12.5 },
  ],
};
/** 1000 and 200 tokens at gpt-4o-mini's 0.15 and 0.60 USD for a million. */
const usage = { prompt_tokens: 1_000, completion_tokens: 200, total_tokens: 1_200 };
const costUsd = '0.00027';

let folder: string;
let provider: TestProvider;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'purser-pipeline-'));
  provider = await startProvider(apiKey);
  provider.answerWith(JSON.stringify(answer), usage);
});
afterAll(async () => {
  await provider.stop();
  await rm(folder, { recursive: true });
});

interface RawRecord {
  readonly raw: string;
  readonly record: Record<string, string>;
}

/** Two companies of the generated export, and what our rows cost. */
async function writeExport(path: string): Promise<{ rows: number; billedCostUsd: string }> {
  const bytes = Buffer.concat([...sampleFocusFile()]);
  const records: RawRecord[] = parse(bytes, { columns: true, raw: true });
  const kept = records.filter(({ record }) =>
    [ours, theirs].includes(record['SubAccountId'] ?? ''),
  );
  const header = bytes.subarray(0, bytes.indexOf('\n') + 1).toString();
  await writeFile(path, header + kept.map(({ raw }) => raw).join(''));
  const mine = kept.filter(({ record }) => record['SubAccountId'] === ours);
  const billedCostUsd = exactSum(mine.map(({ record }) => record['BilledCost'] ?? ''));
  return { rows: mine.length, billedCostUsd };
}

async function as<T>(
  database: Database,
  tenantId: string,
  fn: (sql: TenantSql) => Promise<T>,
): Promise<T> {
  const token = await openOperatorToken(database.system, tenantId, 60_000);
  try {
    return await fn(tenantSql(database.tenant, { token }));
  } finally {
    await closeOperatorToken(database.system, token);
  }
}

async function keepCredentials(database: Database, env: Environment): Promise<void> {
  const manager = new EncryptionKeyManager({
    primary: { version: 1, key: env['ENCRYPTION_KEY'] ?? '', salt: env['KDF_SALT'] ?? '' },
  });
  const place = { column: 'aws_accounts.credentials', purpose: 'api_key' } as const;
  const { ciphertext, keyVersion } = await manager.encryptString(secret, {
    ...place,
    tenantId: ours,
  });
  await as(
    database,
    ours,
    (sql) => sql`
      insert into aws_accounts (tenant_id, account_id, credentials, encryption_key_version)
      values (${ours}, '123456789012', ${ciphertext}, ${keyVersion})`,
  );
  const [stored] = await as(
    database,
    ours,
    (sql) => sql<{ credentials: string }>`select credentials from aws_accounts`,
  );
  const token = stored?.credentials ?? '';
  expect(token).not.toContain('AKIA');
  expect(await manager.decryptString(token, { ...place, tenantId: ours })).toBe(secret);
  const elsewhere = manager.decryptString(token, { ...place, tenantId: theirs });
  await expect(elsewhere).rejects.toMatchObject({ code: 'decryption_failed' });
}

it.each([
  { level: 'L1', login: 'purser_plain', tenantLogin: false },
  { level: 'L2', login: 'purser_app', tenantLogin: false },
  { level: 'L3', login: 'purser_app', tenantLogin: true },
] as const)(
  'test_full_pipeline_with_all_fixes: ingest, schedule, hold, ask, settle, store, encrypt, and keep tenants apart at level $level',
  async ({ level, login, tenantLogin }) => {
    const test = await emptyDatabase(login);
    const tenantUrl = tenantLogin ? test.tenantUrl : undefined;
    const env: Environment = {
      DATABASE_URL: test.url,
      TENANT_DATABASE_URL: tenantUrl,
      ENCRYPTION_KEY: 'a passphrase of this pipeline',
      KDF_SALT: Buffer.alloc(32, 9).toString('base64'),
      LLM_PROVIDER: 'openai',
      OPENAI_API_KEY: apiKey,
      OPENAI_BASE_URL: provider.url,
      PORT: '0',
    };
    const asked = provider.received.length;
    expect(await runCli(['migrate', 'up'], { env })).toMatchObject({ code: 0 });
    const database = await openDatabase({
      url: test.url,
      tenantUrl,
      applicationName: 'purser test pipeline',
      systemConnections: 1,
      tenantConnections: 1,
    });
    try {
      const system = database.system;
      const fleet = await startRole('all', env);
      expect(fleet.stderr.join('\n')).toContain(`tenancy ${level}`);
      const path = join(folder, `${level}.csv`);
      const file = await writeExport(path);
      const ingest = [
        'ingest',
        '--tenant-column',
        'SubAccountId',
        '--create-tenants',
        '--focus',
        path,
      ];
      expect(await runCli(ingest, { env })).toMatchObject({ code: 0 });

      // Each tenant: one ingestion, and the first analysis of its schedule.
      expect(await untilAllEnded(system)).toEqual({ completed: 4 });
      expect(provider.received.length - asked).toBe(2);
      const scheduled = await system`
      select from background_jobs where job_type = 'finops_analysis' and dedup_key is not null`;
      expect(scheduled).toHaveLength(2);

      const shown = await runCli(['budget', 'show', '--tenant', ours, '--json'], { env });
      expect(JSON.parse(shown.stdout)).toMatchObject([
        { tenantId: ours, currentMonthUsageUsd: costUsd, reservedUsd: '0' },
      ]);
      expect(await runCli(['budget', 'verify'], { env })).toMatchObject({ code: 0 });
      const reservations = await system`select status from llm_reservations`;
      expect(reservations.map((row) => row['status'])).toEqual(['APPLIED', 'APPLIED']);
      expect(await stopAll([fleet])).toEqual([0]);

      expect(database.level).toBe(level);
      await keepCredentials(database, env);
      const mine = await as(database, ours, async (sql) => [
        ...(await sql`select count(*)::int as rows, trim_scale(sum(billed_cost))::text as cost from cost_records`),
        ...(await sql`select headline, analyst->>'offline' as offline, trim_scale(cost_usd)::text as "costUsd" from analyses`),
      ]);
      expect(mine).toEqual([
        { rows: file.rows, cost: file.billedCostUsd },
        { headline: 'Storage costs doubled on one day.', offline: 'false', costUsd },
      ]);
      const seen = await as(database, theirs, async (sql) => [
        await sql`select from aws_accounts`,
        await sql`select from cost_records where tenant_id = ${ours}`,
        await sql`select from analyses where tenant_id = ${ours}`,
        await sql`select from tenants where id = ${ours}`,
      ]);
      expect(seen).toEqual([[], [], [], []]);
      const planted = as(
        database,
        theirs,
        (sql) => sql`
          insert into aws_accounts (tenant_id, account_id, credentials, encryption_key_version)
          values (${ours}, '666', 'x', 1)`,
      );
      await expect(planted).rejects.toThrow(/row-level security/);
    } finally {
      await database.close();
      await test.close();
    }
  },
  60_000,
);
