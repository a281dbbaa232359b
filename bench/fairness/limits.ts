/** What limits cost: CPU per no-op job with and without them, where none of them is reached. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Sql } from '../../src/db/connect.ts';
import { heartbeatMs, purser, warmUpJobs } from '../jobs/completion.ts';
import { fleetCpu, openFleetDatabase, startFleet, tenants } from '../jobs/fleet.ts';
import type { Setting } from '../jobs/fleet.ts';
import { median, rounded } from '../jobs/report.ts';
import type { Row, Section } from '../jobs/report.ts';

const jobs = 10_000;
const samples = 3;
const groupsOfTenant = 100;
const many = Array.from({ length: 2_000 }, (_, index) => `tenant-${index}`);
const owners = { 10: tenants, 2000: many } as const;

interface Case {
  readonly limits: 'none' | 'running' | 'starts' | 'groups running' | 'groups starts';
  readonly tenantCount: keyof typeof owners;
  readonly groups?: number;
}

/** Each follows the one that it is compared with. */
const together: readonly Case[] = [
  { limits: 'none', tenantCount: 10 },
  { limits: 'running', tenantCount: 10 },
  { limits: 'none', tenantCount: 10, groups: groupsOfTenant },
  { limits: 'groups running', tenantCount: 10, groups: groupsOfTenant },
  { limits: 'none', tenantCount: 2000 },
  { limits: 'running', tenantCount: 2000 },
];
const alone: readonly Case[] = [
  { limits: 'none', tenantCount: 10 },
  { limits: 'starts', tenantCount: 10 },
  { limits: 'none', tenantCount: 10, groups: groupsOfTenant },
  { limits: 'groups starts', tenantCount: 10, groups: groupsOfTenant },
  { limits: 'none', tenantCount: 2000 },
  { limits: 'starts', tenantCount: 2000 },
];

async function setLimits(sql: Sql, { limits, tenantCount }: Case): Promise<void> {
  await sql`delete from job_limits`;
  if (limits === 'running' || limits === 'starts') {
    await sql`
      insert into job_limits (tenant_id, max_running, max_starts, per_seconds, by)
      select unnest(${[...owners[tenantCount]]}::text[]), ${limits === 'running' ? 1_000_000 : null}::int,
        ${limits === 'running' ? null : 10_000}::int, ${limits === 'running' ? null : 1}::int, 'bench'`;
  } else if (limits !== 'none') {
    await sql`
      insert into job_limits (group_name, each_tenant, max_running, max_starts, per_seconds, by)
      values ('user:*', true, ${limits === 'groups running' ? 1_000_000 : null}::int,
        ${limits === 'groups running' ? null : 10_000}::int, ${limits === 'groups running' ? null : 1}::int, 'bench')`;
  }
}

async function rowsOf(setting: Setting, name: string, cases: readonly Case[]): Promise<Row[]> {
  const database = await openFleetDatabase(setting, name);
  const { sql } = database;
  await sql`
    insert into tenants (id, plan) select unnest(${many}::text[]), 'enterprise' on conflict do nothing`;
  const fleet = await startFleet(setting, database, 'redis');
  const readers = fleetCpu(setting, fleet);
  try {
    const warmUp = purser(setting, database, readers);
    await warmUp(warmUpJobs);
    await sleep(heartbeatMs);
    await warmUp(warmUpJobs * 20);
    const taken = cases.map((): Record<string, number>[] => []);
    for (let sample = 0; sample < samples; sample += 1) {
      for (const [index, given] of cases.entries()) {
        await setLimits(sql, given);
        const measure = purser(setting, database, readers, {
          owners: owners[given.tenantCount],
          groups: given.groups ?? 0,
        });
        taken[index]?.push((await measure(jobs)).cpu);
      }
    }
    const sums = taken.map((cpus) =>
      median(cpus.map((cpu) => Object.values(cpu).reduce((sum, us) => sum + us, 0))),
    );
    return cases.map(({ limits, tenantCount, groups = 0 }, index) => ({
      'jobs in an entry': setting.jobsPerEntry,
      tenants: tenantCount,
      'groups of each': groups,
      limits,
      'cpu/job': sums[index] ?? Number.NaN,
      'x none': rounded(
        (sums[index] ?? Number.NaN) / (sums[limits === 'none' ? index : index - 1] ?? Number.NaN),
        2,
      ),
      ...Object.fromEntries(
        Object.keys(readers).map((part) => [
          `cpu ${part}`,
          median((taken[index] ?? []).map((cpu) => cpu[part] ?? 0)),
        ]),
      ),
    }));
  } finally {
    await fleet.stop();
    await database.close();
  }
}

export async function measureLimits(setting: Setting): Promise<Section> {
  return {
    name: 'limits',
    title: 'no-op jobs completed under limits that none of them reaches, queues in Redis',
    rows: [
      ...(await rowsOf(setting, 'fairness_limits', together)),
      ...(await rowsOf({ ...setting, jobsPerEntry: 1 }, 'fairness_limits_alone', alone)),
    ],
    notes: [
      `${jobs} jobs a sample, ${samples} samples, by turns; medians. cpu: microseconds of processor per job.`,
      'running, starts: a limit of each tenant. groups: one limit of each group of each tenant, by kind.',
      'Jobs under a limit of starts have an entry of their own, so that these are compared with such.',
    ],
  };
}
