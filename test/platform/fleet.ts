/** A fleet of processes as a platform runs it: one per role, configured by the environment, stopped by SIGTERM. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'vitest';
import type { Sql } from '../../src/db/connect.ts';
import { sampleTenantColumn, writeSample } from '../../src/costs/sample/data.ts';
import { runCli, startCli } from '../support/process.ts';
import type { CliProcess } from '../support/process.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

/** Platforms kill after 30 s; Purser must have exited before. */
export const leaveWithinMs = 25_000;
const workDoneWithinMs = 90_000;

/** Starts a role and waits until it prints that it is running. */
export async function startRole(role: string, env: Environment): Promise<CliProcess> {
  const child = startCli(['start', role], { env: { PORT: '0', LOG_LEVEL: 'warn', ...env } });
  await child.waitForLine(new RegExp(`purser ${role} is running`));
  return child;
}

/** Sends SIGTERM to all processes; each must exit with 0 before a platform would kill it. */
export async function leave(fleet: readonly CliProcess[]): Promise<void> {
  for (const child of fleet) child.signal('SIGTERM');
  const exits = await Promise.all(
    fleet.map((child) => child.waitForExit({ timeoutMs: leaveWithinMs })),
  );
  expect(exits.map(({ code, signal }) => ({ code, signal }))).toEqual(
    fleet.map(() => ({ code: 0, signal: null })),
  );
}

/** Uploads sample costs of twelve companies with `purser ingest`, which enqueues their jobs. */
export async function ingestSample(env: Environment, days = 10): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'purser-sample-'));
  try {
    const file = join(folder, 'focus.csv');
    await writeSample(file, { days });
    const args = ['--tenant-column', sampleTenantColumn, '--create-tenants'];
    const result = await runCli(['ingest', '--focus', file, ...args], {
      env,
      timeoutMs: 60_000,
    });
    expect(result).toMatchObject({ code: 0 });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Jobs by type and state. */
export async function countJobs(sql: Sql): Promise<Record<string, number>> {
  const rows = await sql<{ name: string; jobs: number }[]>`
    select job_type || ' ' || state as name, count(*)::int as jobs
    from background_jobs group by 1 order by 1`;
  return Object.fromEntries(rows.map(({ name, jobs }) => [name, jobs]));
}

/** Waits until all twelve companies are ingested and analysed, calling `look` meanwhile. */
export async function untilWorkIsDone(sql: Sql, look: () => Promise<void> = async () => {}) {
  const deadline = Date.now() + workDoneWithinMs;
  for (;;) {
    await look();
    const jobs = await countJobs(sql);
    if (jobs['cost_ingestion completed'] === 12 && (jobs['finops_analysis completed'] ?? 0) >= 12) {
      return jobs;
    }
    if (Date.now() > deadline) throw new Error(`the work is not done: ${JSON.stringify(jobs)}`);
    await sleep(100);
  }
}
