/** A fleet with a process per role, as in a deployment, and waits on the state of its database. */
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Sql } from '../../src/db/connect.ts';
import { startCli } from '../support/process.ts';
import type { CliProcess } from '../support/process.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

/** Returns once the role reports that it is running. */
export async function startRole(role: string, env: Environment, cwd?: string): Promise<CliProcess> {
  const started = startCli(['start', role], { env, ...(cwd === undefined ? {} : { cwd }) });
  await started.waitForLine(new RegExp(`^purser ${role} is running`));
  return started;
}

const unfinished = ['pending', 'queued', 'running', 'failed'];

/** Waits until every job has ended or is parked and every schedule has had its first run. */
export async function untilAllEnded(sql: Sql, timeoutMs = 60_000): Promise<Record<string, number>> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const rows = await sql<{ state: string; count: number }[]>`
      select state, count(*)::int as count from background_jobs group by state
      union all
      select 'unscheduled', count(*)::int from tenant_schedules
      where enabled and last_bucket is null having count(*) > 0`;
    const states = Object.fromEntries(rows.map(({ state, count }) => [state, count]));
    if (rows.every(({ state }) => ![...unfinished, 'unscheduled'].includes(state))) return states;
    if (Date.now() > deadline) throw new Error(`work is left: ${JSON.stringify(states)}`);
    await sleep(100);
  }
}

/** Sends SIGTERM to each and returns the exit codes; throws the last output of one that did not exit with 0. */
export async function stopAll(processes: readonly CliProcess[]): Promise<(number | null)[]> {
  for (const each of processes) each.signal('SIGTERM');
  const exits = await Promise.all(processes.map((each) => each.waitForExit({ timeoutMs: 40_000 })));
  for (const { code, signal, stderr } of exits) {
    if (code !== 0)
      throw new Error(`a role ended with ${code ?? signal}:\n${stderr.slice(-2_000)}`);
  }
  return exits.map(({ code }) => code);
}

/** Command lines that contain the path (Linux). */
async function processesIn(path: string): Promise<string[]> {
  const pids = existsSync('/proc') ? await readdir('/proc') : [];
  const lines = await Promise.all(
    pids
      .filter((pid) => /^\d+$/.test(pid))
      .map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')),
  );
  return lines.filter((line) => line.includes(path));
}

/** Waits until no command line contains the path. */
export async function untilNoneRunsIn(path: string): Promise<void> {
  const deadline = Date.now() + 10_000;
  for (;;) {
    const left = await processesIn(path);
    if (left.length === 0) return;
    if (Date.now() > deadline) throw new Error(`still running: ${left.join('; ')}`);
    await sleep(50);
  }
}
