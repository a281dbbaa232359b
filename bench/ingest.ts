/**
 * Measures a deployed worker that ingests a FOCUS file of 200 MB: rows per second and peak memory. Then checks that
 * every row is stored once when the worker is killed (-9) three times meanwhile. Linux only: memory is VmHWM.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { connect } from '../src/db/connect.ts';
import type { Sql } from '../src/db/connect.ts';
import { startEmbeddedPostgres } from '../src/db/embedded/embedded.ts';
import { sampleFocusFile, writeSample } from '../src/costs/sample/data.ts';

const targetBytes = 200e6;
const maxWorkerMb = 400;
/** The worker is killed early and late while it reads, and while rows are inserted into cost_records. */
const kills = [
  { statement: 'copy pg_temp.ingest_rows', afterShare: 0.1 },
  { statement: 'copy pg_temp.ingest_rows', afterShare: 0.4 },
  { statement: 'insert into public.cost_records', afterShare: 0.05 },
];
const entry = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url));

export interface IngestBench {
  readonly fileMb: number;
  readonly rows: number;
  readonly uploadSeconds: number;
  readonly uploadPeakMb: number;
  readonly ingestSeconds: number;
  readonly rowsPerSecond: number;
  readonly workerPeakMb: number;
  /** State and losses of the job after each kill. */
  readonly afterKills: readonly string[];
  readonly killedWorkerPeakMb: number;
}

interface Process {
  readonly child: ChildProcess;
  readonly peakMb: () => number;
  readonly ended: Promise<string>;
}

/** In MB; 0 for a process that has ended. */
async function peakOf(pid: string | number | undefined): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? 0) / 1024;
}

/** Starts `node dist/cli/main.js ...`, as a deployment does, and samples its peak memory. */
function start(args: readonly string[], env: Readonly<Record<string, string>>): Process {
  const child = spawn(process.execPath, [entry, ...args], {
    env: { PATH: process.env['PATH'], LOG_LEVEL: 'error', ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const killChild = (): void => void child.kill('SIGKILL');
  process.once('exit', killChild);
  let peakMb = 0;
  // Includes the child process in which a worker runs a suspect job.
  const look = async (): Promise<void> => {
    const own = `/proc/${child.pid}/task/${child.pid}/children`;
    const children = await readFile(own, 'utf8').catch(() => '');
    const peaks = await Promise.all([child.pid, ...children.trim().split(' ')].map(peakOf));
    peakMb = Math.max(
      peakMb,
      peaks.reduce((sum, peak) => sum + peak, 0),
    );
  };
  const timer = setInterval(() => void look(), 50);
  let out = '';
  child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
  const ended = once(child, 'close').then(() => {
    clearInterval(timer);
    process.off('exit', killChild);
    return out;
  });
  return { child, peakMb: () => peakMb, ended };
}

interface JobRow {
  id: string;
  state: string;
  losses: number;
  seconds: number | null;
}

/** The tenant's newest ingestion, when `wanted` accepts it. */
async function untilJob(
  sql: Sql,
  tenantId: string,
  wanted: (job: JobRow) => boolean,
): Promise<JobRow> {
  for (;;) {
    const [job] = await sql<JobRow[]>`
      select j.id, j.state, j.losses + j.losses_alone as losses, extract(epoch from j.finished_at -
        (select max(at) from job_events e where e.job_id = j.id and e.to_state = 'running'))::float8 as seconds
      from background_jobs j where j.tenant_id = ${tenantId} and j.job_type = 'cost_ingestion'
      order by j.id desc limit 1`;
    if (job !== undefined && wanted(job)) return job;
    if (job?.state === 'dead_letter' || job?.state === 'completed') {
      throw new Error(`job ${job.id} ended early as ${job.state}`);
    }
    await sleep(50);
  }
}

function completed(job: JobRow): boolean {
  return job.state === 'completed';
}

/** Waits until a session runs this statement. */
async function untilStatement(sql: Sql, statement: string): Promise<void> {
  for (;;) {
    const busy = await sql`
      select from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
        and state = 'active' and starts_with(ltrim(query, E' \n'), ${statement})`;
    if (busy.length > 0) return;
    await sleep(20);
  }
}

/** Kills the worker three times during the ingestion, then lets a worker complete it. */
async function killAndContinue(
  sql: Sql,
  tenantId: string,
  wholeSeconds: number,
  cli: (...args: string[]) => Process,
): Promise<Pick<IngestBench, 'afterKills' | 'killedWorkerPeakMb'>> {
  const afterKills: string[] = [];
  let peakMb = 0;
  for (const { statement, afterShare } of kills) {
    const worker = cli('start', 'worker');
    const { losses } = await untilJob(sql, tenantId, ({ state }) => state === 'running');
    await untilStatement(sql, statement);
    await sleep(afterShare * wholeSeconds * 1000);
    worker.child.kill('SIGKILL');
    await worker.ended;
    peakMb = Math.max(peakMb, worker.peakMb());
    const after = await untilJob(sql, tenantId, (job) => job.losses > losses);
    const [stored] =
      await sql`select count(*)::int as rows from cost_records where tenant_id = ${tenantId}`;
    if (stored?.['rows'] !== 0) throw new Error('an interrupted ingestion left rows');
    afterKills.push(`${after.state} (${after.losses})`);
  }
  const worker = cli('start', 'worker');
  await untilJob(sql, tenantId, completed);
  peakMb = Math.max(peakMb, worker.peakMb());
  worker.child.kill('SIGTERM');
  await worker.ended;
  return { afterKills, killedWorkerPeakMb: peakMb };
}

/** Throws unless both tenants have the same rows, each line of the file once. */
async function compareRows(sql: Sql, rows: number): Promise<void> {
  const counts = await sql<{ rows: number; lines: number; cost: string }[]>`
    select count(*)::int as rows, count(distinct line)::int as lines, sum(billed_cost)::text as cost
    from cost_records where tenant_id in ('calm', 'killed') group by tenant_id`;
  const [calm, killed] = counts;
  const sound = counts.every((each) => each.rows === rows && each.lines === rows);
  const [different] = await sql<{ rows: number }[]>`
    select count(*)::int as rows from
      (select line, resource_id, charge_period_start, billed_cost, tags from cost_records where tenant_id = 'calm') a
      full join
      (select line, resource_id, charge_period_start, billed_cost, tags from cost_records where tenant_id = 'killed') b
      using (line)
    where (a.resource_id, a.charge_period_start, a.billed_cost, a.tags)
      is distinct from (b.resource_id, b.charge_period_start, b.billed_cost, b.tags)`;
  if (!sound || counts.length !== 2 || calm?.cost !== killed?.cost || different?.rows !== 0) {
    throw new Error(`rows differ: ${JSON.stringify({ counts, different, rows })}`);
  }
}

/** On a private Postgres with fsync on, queues in Postgres, each role a process of its own. */
export async function run(): Promise<IngestBench> {
  const folder = await mkdtemp(join(tmpdir(), 'purser-bench-'));
  const server = await startEmbeddedPostgres({ dataDir: join(folder, 'postgres') });
  const sql = connect(server.url, { max: 2, applicationName: 'purser bench' });
  const cli = (...args: string[]): Process =>
    start(args, { DATABASE_URL: server.url, PURSER_DATA_DIR: join(folder, 'data') });
  try {
    const path = join(folder, 'focus.csv');
    const [one = 0, two = 0] = [1, 2].map((scale) =>
      [...sampleFocusFile({ scale })].reduce((sum, chunk) => sum + chunk.length, 0),
    );
    const scale = 1 + Math.ceil((targetBytes - one) / (two - one));
    const { rows } = await writeSample(path, { scale });
    const fileMb = (await stat(path)).size / 1e6;
    await cli('migrate', 'up').ended;
    for (const tenant of ['calm', 'killed']) await cli('tenants', 'add', tenant).ended;
    const scheduler = cli('start', 'scheduler');
    const worker = cli('start', 'worker');
    const uploadedFromMs = performance.now();
    const upload = cli('ingest', '--tenant', 'calm', '--file', path);
    await upload.ended;
    const uploadSeconds = (performance.now() - uploadedFromMs) / 1000;
    const { seconds } = await untilJob(sql, 'calm', completed);
    const ingestSeconds = seconds ?? Number.NaN;
    const workerPeakMb = worker.peakMb();
    worker.child.kill('SIGTERM');
    await worker.ended;
    await cli('ingest', '--tenant', 'killed', '--file', path).ended;
    const killed = await killAndContinue(sql, 'killed', ingestSeconds, cli);
    scheduler.child.kill('SIGTERM');
    await scheduler.ended;
    await compareRows(sql, rows);
    return {
      fileMb,
      rows,
      uploadSeconds,
      uploadPeakMb: upload.peakMb(),
      ingestSeconds,
      rowsPerSecond: rows / ingestSeconds,
      workerPeakMb,
      ...killed,
    };
  } finally {
    await sql.end({ timeout: 5 });
    await server.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const found = await run();
  const mb = (value: number): string => `${value.toFixed(0)} MB`;
  console.log(`a FOCUS file of ${mb(found.fileMb)}, ${found.rows} rows, one tenant`);
  console.log(
    `  upload: ${found.uploadSeconds.toFixed(1)} s, peak memory ${mb(found.uploadPeakMb)}`,
  );
  console.log(
    `  ingestion: ${found.ingestSeconds.toFixed(1)} s, ${found.rowsPerSecond.toFixed(0)} rows/s, ` +
      `peak memory of the worker ${mb(found.workerPeakMb)} (limit ${mb(maxWorkerMb)})`,
  );
  console.log(
    `  worker killed 3 times: ${found.afterKills.join(', ')}; every row once, ` +
      `peak memory ${mb(found.killedWorkerPeakMb)}`,
  );
  if (Math.max(found.workerPeakMb, found.killedWorkerPeakMb) > maxWorkerMb) process.exitCode = 1;
}
