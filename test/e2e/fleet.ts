/** A fleet as a deployment has it: each role a process of its own, and what the database says of their work. */
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Sql } from '../../src/db/connect.ts';
import { startCli } from '../support/process.ts';
import type { CliProcess } from '../support/process.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

/** Started, and said that it runs. */
export async function startRole(role: string, env: Environment, cwd?: string): Promise<CliProcess> {
  const started = startCli(['start', role], { env, ...(cwd === undefined ? {} : { cwd }) });
  await started.waitForLine(new RegExp(`^purser ${role} is running`));
  return started;
}

const unfinished = ['pending', 'queued', 'running', 'failed'];

/** Waits until no job of the database has anything left to do and every schedule has had its first run. */
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

/** SIGTERM to each, and the exit codes; what one that did not exit 0 wrote last is thrown. */
export async function stopAll(processes: readonly CliProcess[]): Promise<(number | null)[]> {
  for (const each of processes) each.signal('SIGTERM');
  const exits = await Promise.all(processes.map((each) => each.waitForExit({ timeoutMs: 40_000 })));
  for (const { code, signal, stderr } of exits) {
    if (code !== 0)
      throw new Error(`a role ended with ${code ?? signal}:\n${stderr.slice(-2_000)}`);
  }
  return exits.map(({ code }) => code);
}

/** Command lines of processes that name the folder (Linux). */
async function processesIn(path: string): Promise<string[]> {
  const pids = existsSync('/proc') ? await readdir('/proc') : [];
  const lines = await Promise.all(
    pids
      .filter((pid) => /^\d+$/.test(pid))
      .map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')),
  );
  return lines.filter((line) => line.includes(path));
}

/** Waits until no process names the folder any more. */
export async function untilNoneRunsIn(path: string): Promise<void> {
  const deadline = Date.now() + 10_000;
  for (;;) {
    const left = await processesIn(path);
    if (left.length === 0) return;
    if (Date.now() > deadline) throw new Error(`still running: ${left.join('; ')}`);
    await sleep(50);
  }
}
