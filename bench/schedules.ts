/**
 * Due tenants that the claim turns into jobs: 500, 10,000 and 100,000 of them, by one scheduler and by four that race,
 * each a process of its own, on a Postgres of its own that keeps what it commits. Prints seconds, jobs, duplicates, the
 * deadlocks that Postgres counted, and the memory of the largest claimer at its start and its end.
 * Usage: node --import tsx bench/schedules.ts [tenants ...]. Linux.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import { prepareDatabase } from '../src/cli/runtime/prepare-database.ts';
import { connect } from '../src/db/connect.ts';
import type { Sql } from '../src/db/connect.ts';
import { startEmbeddedPostgres } from '../src/db/embedded/embedded.ts';
import { postgresSettings } from './jobs/servers.ts';

const claimer = join(import.meta.dirname, 'schedules', 'claimer.ts');
export const limitSeconds = 10;

export interface ScheduleRow {
  readonly tenants: number;
  readonly schedulers: number;
  readonly seconds: number;
  readonly jobs: number;
  readonly duplicates: number;
  readonly deadlocks: number;
  readonly rssBeforeMb: number;
  readonly rssAfterMb: number;
}

interface Claimer {
  readonly rssMb: number;
  /** Starts the claims and resolves to the memory at their end. */
  run(): Promise<number>;
}

async function startClaimer(url: string): Promise<Claimer> {
  const child = spawn(process.execPath, ['--import', 'tsx', claimer, url], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const nextNumber = async (): Promise<number> => {
    const { value } = await lines.next();
    if (value === undefined) throw new Error('a claimer ended early');
    return Number(value);
  };
  const rssMb = await nextNumber();
  return {
    rssMb,
    run: async () => {
      child.stdin.end('go\n');
      const after = await nextNumber();
      if (child.exitCode === null) await once(child, 'exit');
      return after;
    },
  };
}

const deadlocksOf = async (sql: Sql): Promise<number> => {
  await sql`select pg_stat_force_next_flush()`;
  const [row] = await sql<{ deadlocks: number }[]>`
    select deadlocks::int from pg_stat_database where datname = current_database()`;
  return row?.deadlocks ?? Number.NaN;
};

async function measure(
  url: string,
  sql: Sql,
  tenants: number,
  schedulers: number,
): Promise<ScheduleRow> {
  await sql`truncate tenants, jobs, purser.waiting, purser.ticks cascade`;
  await sql`
    insert into tenants (id, plan)
    select 'tenant-' || n, (array['pro', 'growth', 'free'])[1 + n % 3] from generate_series(1, ${tenants}) n`;
  await sql`update tenant_schedules set next_due = now() - random() * interval '1 hour'`;
  await sql`vacuum analyze tenant_schedules`;
  await sql`checkpoint`.catch(() => {});
  const deadlocksBefore = await deadlocksOf(sql);
  const claimers = await Promise.all(Array.from({ length: schedulers }, () => startClaimer(url)));
  const startedAt = performance.now();
  const after = await Promise.all(claimers.map((each) => each.run()));
  const seconds = (performance.now() - startedAt) / 1_000;
  const [made] = await sql<{ jobs: number; tenants: number }[]>`
    select count(*)::int as jobs, count(distinct tenant_id)::int as tenants from jobs`;
  const jobs = made?.jobs ?? 0;
  if (made?.tenants !== tenants)
    throw new Error(`${made?.tenants} of ${tenants} tenants have a job`);
  return {
    tenants,
    schedulers,
    seconds: Number(seconds.toFixed(2)),
    jobs,
    duplicates: jobs - tenants,
    deadlocks: (await deadlocksOf(sql)) - deadlocksBefore,
    rssBeforeMb: Math.round(Math.max(...claimers.map(({ rssMb }) => rssMb))),
    rssAfterMb: Math.round(Math.max(...after)),
  };
}

export async function run(
  counts: readonly number[],
): Promise<{ name: string; rows: ScheduleRow[] }> {
  const dataDir = await mkdtemp(join(tmpdir(), 'purser-schedules-'));
  await chmod(dataDir, 0o711);
  const server = await startEmbeddedPostgres({ dataDir, settings: postgresSettings });
  const sql = connect(server.url, { max: 1, applicationName: 'bench' });
  try {
    await prepareDatabase({ url: server.url });
    const rows: ScheduleRow[] = [];
    for (const tenants of counts) {
      for (const schedulers of [1, 4]) {
        rows.push(await measure(server.url, sql, tenants, schedulers));
      }
    }
    return { name: 'schedules', rows };
  } finally {
    await sql.end({ timeout: 5 });
    await server.stop();
    await rm(dataDir, { recursive: true, force: true });
  }
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const counts = process.argv.slice(2).map(Number);
  const { rows } = await run(counts.length === 0 ? [500, 10_000, 100_000] : counts);
  console.table(rows);
  const isLate = ({ tenants, seconds }: ScheduleRow): boolean =>
    tenants === 100_000 && seconds >= limitSeconds;
  const isWrong = ({ duplicates, deadlocks }: ScheduleRow): boolean => duplicates + deadlocks > 0;
  process.exitCode = rows.some((row) => isLate(row) || isWrong(row)) ? 1 : 0;
}
