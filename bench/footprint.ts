/**
 * The peak memory (resident set) of each role while the fleet does the demo's work and while it ingests one file of
 * 200 MB, against the memory of a process on the smallest platforms. Needs `npm run build`.
 * Usage: node --import tsx bench/footprint.ts [megabytes]; REDIS_URL for a fleet on Redis. Linux.
 */
import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { connect } from '../src/db/connect.ts';
import type { Sql } from '../src/db/connect.ts';
import { startEmbeddedPostgres } from '../src/db/embedded/embedded.ts';
import { writeSample } from '../src/costs/sample/data.ts';

const entry = join(import.meta.dirname, '..', 'dist', 'cli', 'main.js');
const limitsMb = { scheduler: 512, web: 512, worker: 400, 'purser ingest': 512 } as const;
type Process = keyof typeof limitsMb;
const roles = ['scheduler', 'web', 'worker'] as const;
const bytesPerScale = 5_600_000;

export interface BenchRow {
  readonly load: string;
  readonly process: string;
  readonly peakMb: number;
  readonly limitMb: number;
  /** Of an ingestion, from the upload's first byte to the last row's commit; null elsewhere. */
  readonly rowsPerSecond: number | null;
}

function residentMb(pid: number | undefined): number {
  const text = pid === undefined ? '' : readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/VmRSS:\s+(\d+)/.exec(text)?.[1] ?? 0) / 1024;
}

const finished = async (sql: Sql): Promise<boolean> => {
  const [row] = await sql<{ left: number; all: number; lost: number }[]>`
    select count(*) filter (where finished_at is null and job_type = 'cost_ingestion')::int as left,
      count(*) filter (where state = 'dead_letter')::int as lost, count(*)::int as all
    from background_jobs`;
  if ((row?.lost ?? 0) > 0) throw new Error('a job of the bench became a dead letter');
  return row !== undefined && row.all > 0 && row.left === 0;
};

/** Runs `purser ingest ...` and waits for its jobs, sampling every process. */
async function measure(
  load: string,
  args: readonly string[],
  fleet: ReadonlyMap<Process, ChildProcess>,
  env: NodeJS.ProcessEnv,
  sql: Sql,
): Promise<BenchRow[]> {
  const [before] = await sql<{ rows: number }[]>`select count(*)::int as rows from cost_records`;
  const startedAt = performance.now();
  const ingest = spawn(process.execPath, [entry, 'ingest', ...args], { env, stdio: 'ignore' });
  const processes = new Map<Process, ChildProcess>([...fleet, ['purser ingest', ingest]]);
  const peaks = new Map<Process, number>();
  for (;;) {
    for (const [name, { pid, exitCode }] of processes) {
      if (exitCode === null) peaks.set(name, Math.max(peaks.get(name) ?? 0, residentMb(pid)));
      else if (exitCode !== 0) throw new Error(`${name} ended with ${exitCode}`);
    }
    if (ingest.exitCode === 0 && (await finished(sql))) break;
    await sleep(100);
  }
  const seconds = (performance.now() - startedAt) / 1000;
  const [after] = await sql<{ rows: number }[]>`select count(*)::int as rows from cost_records`;
  const rowsPerSecond = Math.round(((after?.rows ?? 0) - (before?.rows ?? 0)) / seconds);
  return [...peaks].map(([name, peakMb]) => ({
    load,
    process: name,
    peakMb: Math.round(peakMb),
    limitMb: limitsMb[name],
    rowsPerSecond: name === 'worker' ? rowsPerSecond : null,
  }));
}

/** Starts Postgres and the three roles, and measures both loads. */
export async function run(megabytes = 200): Promise<{ name: string; rows: BenchRow[] }> {
  const folder = await mkdtemp(join(tmpdir(), 'purser-footprint-'));
  const server = await startEmbeddedPostgres({ dataDir: join(folder, 'postgres') });
  const env = { ...process.env, DATABASE_URL: server.url, PORT: '0', LOG_LEVEL: 'warn' };
  const sql = connect(server.url, { max: 1, applicationName: 'bench' });
  const fleet = new Map<Process, ChildProcess>();
  try {
    const migrated = spawnSync(process.execPath, [entry, 'migrate', 'up'], { env });
    if (migrated.status !== 0) throw new Error(String(migrated.stderr));
    for (const role of roles) {
      fleet.set(
        role,
        spawn(process.execPath, [entry, 'start', role], {
          env,
          stdio: ['ignore', 'ignore', 'inherit'],
        }),
      );
    }
    const small = join(folder, 'demo.csv');
    await writeSample(small);
    const split = ['--tenant-column', 'SubAccountId', '--create-tenants'];
    const demo = await measure("the demo's file", ['--focus', small, ...split], fleet, env, sql);

    const large = join(folder, 'large.csv');
    await writeSample(large, { scale: Math.ceil((megabytes * 1e6) / bytesPerScale) });
    const load = `one file of ${Math.round((await stat(large)).size / 1e6)} MB`;
    const [tenant] = await sql<{ id: string }[]>`select id from tenants limit 1`;
    const own = ['--tenant', tenant?.id ?? '', '--source', 'large'];
    return {
      name: 'footprint',
      rows: [...demo, ...(await measure(load, ['--focus', large, ...own], fleet, env, sql))],
    };
  } finally {
    const ends = [...fleet.values()]
      .filter(({ exitCode }) => exitCode === null)
      .map(async (child) => {
        child.kill('SIGTERM');
        await once(child, 'exit');
      });
    await Promise.all(ends);
    await sql.end({ timeout: 5 });
    await server.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { rows } = await run(Number(process.argv[2] ?? 200));
  console.table(rows);
  process.exitCode = rows.some(({ peakMb, limitMb }) => peakMb >= limitMb) ? 1 : 0;
}
