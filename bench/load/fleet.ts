/**
 * The fleet of bench:load: two schedulers, two workers, a database with 100 tenants whose costs were ingested by that
 * fleet, and the LLM provider of the tests on the loopback interface.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Sql } from '../../src/db/connect.ts';
import { focusFileWith } from '../../test/costs/exports/focus/file.ts';
import { endChild } from '../../test/support/children.ts';
import { startProvider } from '../../test/support/provider.ts';
import type { TestProvider } from '../../test/support/provider.ts';
import type { Build } from '../jobs/build.ts';
import { startRole } from '../jobs/fleet.ts';
import type { Servers } from '../jobs/servers.ts';

export const tenantCount = 100;
export const databaseName = 'load';
const days = 60;
const services = ['Amazon Elastic Compute Cloud', 'Amazon Simple Storage Service', 'Amazon RDS'];
const handlersFile = fileURLToPath(new URL('./handlers.mjs', import.meta.url));
const apiKey = 'bench';

export interface LoadFleet {
  readonly sql: Sql;
  readonly provider: TestProvider;
  stop(): Promise<void>;
}

const analysis = JSON.stringify({
  summary: 'Compute grew. Nothing else moved.',
  anomalies: [],
  recommendations: [
    { title: 'Shrink it', rationale: 'large', estimatedMonthlySavingsUsd: 12.5 },
    { title: 'Delete it', rationale: 'unused', estimatedMonthlySavingsUsd: 0.25 },
  ],
});

export async function startLoadFleet(
  build: Build,
  dist: string,
  servers: Servers,
  concurrency: number,
): Promise<LoadFleet> {
  const url = await servers.database(databaseName);
  await build.prepareDatabase({ url });
  const sql = build.connect(url, { max: 4, applicationName: 'bench' });
  await sql`
    insert into tenants (id, plan)
    select 'tenant-' || n, (array['enterprise', 'pro'])[1 + n % 2] from generate_series(1, ${tenantCount}) n`;
  await sql`update tenant_schedules set enabled = false`;
  const provider = await startProvider(apiKey);
  provider.answerWith(analysis);
  const env = {
    PATH: process.env['PATH'],
    HOME: process.env['HOME'],
    DATABASE_URL: url,
    REDIS_URL: servers.redisUrl,
    LLM_PROVIDER: 'openai',
    OPENAI_API_KEY: apiKey,
    OPENAI_BASE_URL: provider.url,
    PURSER_HANDLERS: handlersFile,
    WORKER_CONCURRENCY: String(concurrency),
    LOG_LEVEL: 'warn',
  };
  const roles = (['worker', 'worker', 'scheduler', 'scheduler'] as const).map((role) =>
    startRole(dist, role, env),
  );
  const stop = async (): Promise<void> => {
    await Promise.all(roles.map(({ child }) => endChild(child, 'SIGTERM')));
    await provider.stop();
    await sql.end({ timeout: 5 });
  };
  try {
    await Promise.all(roles.map(({ runs }) => runs));
    await ingestCosts(sql, dist, env);
    return { sql, provider, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

const dayOf = (atMs: number): string => new Date(atMs).toISOString().slice(0, 10);

/** Costs of the last 60 days for every tenant, from one export, by the jobs of the fleet. */
async function ingestCosts(sql: Sql, dist: string, env: NodeJS.ProcessEnv): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'purser-load-'));
  try {
    const path = join(folder, 'export.csv');
    await writeFile(path, focusFileWith(['SubAccountId'], costRows()));
    const args = ['ingest', '--focus', path, '--tenant-column', 'SubAccountId'];
    const child = spawn(process.execPath, [join(dist, 'cli', 'main.js'), ...args], {
      env,
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    const [code]: unknown[] = await once(child, 'exit');
    if (code !== 0) throw new Error(`purser ingest ended with ${String(code)}`);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  for (;;) {
    const [row] = await sql<{ completed: number; lost: number }[]>`
      select count(*) filter (where outcome = 'completed')::int as completed,
        count(*) filter (where outcome <> 'completed')::int as lost
      from jobs where job_type = 'cost_ingestion'`;
    if ((row?.lost ?? 0) > 0) throw new Error('an ingestion did not complete');
    if (row?.completed === tenantCount) return;
    await sleep(200);
  }
}

function costRows(): Record<string, string>[] {
  const todayMs = Date.parse(dayOf(Date.now()));
  const dayMs = 86_400_000;
  return Array.from({ length: tenantCount }, (_, tenant) =>
    Array.from({ length: days }, (__, day) =>
      services.map((service, place) => {
        const startMs = todayMs - (days - day) * dayMs;
        const month = dayOf(startMs).slice(0, 7);
        const next = new Date(`${month}-01T00:00:00Z`);
        next.setUTCMonth(next.getUTCMonth() + 1);
        const cost = ((1 + place) * (10 + (tenant % 7)) + (day % 7) + day / 10).toFixed(4);
        return {
          SubAccountId: `tenant-${tenant + 1}`,
          ServiceName: service,
          BillingPeriodStart: `${month}-01 00:00:00`,
          BillingPeriodEnd: `${dayOf(next.getTime())} 00:00:00`,
          ChargePeriodStart: `${dayOf(startMs)} 00:00:00`,
          ChargePeriodEnd: `${dayOf(startMs + dayMs)} 00:00:00`,
          BilledCost: cost,
          EffectiveCost: cost,
        };
      }),
    ).flat(),
  ).flat();
}
