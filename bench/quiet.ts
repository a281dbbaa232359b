/**
 * A quiet fleet: 20,000 tenants of which none is due, one scheduler and one worker with their default settings, for both
 * stores of the queues. Prints the commands of Redis and the statements of Postgres per second, and the CPU of each
 * process. Servers of its own. Linux.
 * Usage: npm run bench:quiet -- [--only NAME] [--json] [--seconds N] [--tenants N] [--dist FOLDER]
 */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { Sql } from '../src/db/connect.ts';
import { endChild } from '../test/support/children.ts';
import { aboutRun } from './jobs/about.ts';
import { loadBuild } from './jobs/build.ts';
import type { Build } from './jobs/build.ts';
import { cpuMs, readCpu, treeCpuMs } from './jobs/cpu.ts';
import { startRole } from './jobs/fleet.ts';
import type { Store } from './jobs/fleet.ts';
import { printSection, rounded } from './jobs/report.ts';
import type { Row, Section } from './jobs/report.ts';
import { startServers } from './jobs/servers.ts';
import type { Servers } from './jobs/servers.ts';
import { measuringSettings, openStatements } from './load/statements.ts';
import { openRedisCommands } from './quiet/redis-commands.ts';

const { values } = parseArgs({
  options: {
    json: { type: 'boolean' },
    seconds: { type: 'string' },
    tenants: { type: 'string' },
    only: { type: 'string', multiple: true },
    dist: { type: 'string' },
  },
});
const { dist = join(import.meta.dirname, '..', 'dist') } = values;
const seconds = Number(values.seconds ?? 60);
const tenants = Number(values.tenants ?? 20_000);
const redisLimit = 5;
const shownStatements = 12;
/** After the start; the dispatch looks less often when nothing was enqueued for ten seconds. */
const settleMs = 25_000;
const handlersFile = fileURLToPath(new URL('./jobs/handlers.mjs', import.meta.url));

interface Quiet {
  readonly name: string;
  readonly store: Store;
  /** Beside the built-in job types. */
  readonly handlers?: string;
}

const fleets = (
  [
    { name: 'redis', store: 'redis' },
    { name: 'redis_more_types', store: 'redis', handlers: handlersFile },
    { name: 'postgres', store: 'postgres' },
  ] satisfies readonly Quiet[]
).filter(({ name }) => values.only === undefined || values.only.includes(name));

/** Each has run once, and is due in a day. */
async function addTenants(sql: Sql): Promise<void> {
  await sql`
    insert into tenants (id, plan)
    select 'tenant-' || n, (array['pro', 'growth', 'free'])[1 + n % 3] from generate_series(1, ${tenants}) n`;
  await sql`
    update tenant_schedules set last_bucket = now() - interval '1 minute', next_bucket = now() + interval '1 day',
      next_due = now() + interval '1 day'`;
  await sql`vacuum analyze tenants`;
  await sql`vacuum analyze tenant_schedules`;
}

interface Measured {
  readonly fleet: Quiet;
  readonly jobTypes: number;
  readonly cpu: Readonly<Record<string, number>>;
  /** Per second. */
  readonly commands: ReadonlyMap<string, number>;
  readonly origins: Section['rows'];
  readonly statements: readonly { query: string; perSecond: number; msPerSecond: number }[];
}

const sum = (numbers: Iterable<number>): number =>
  [...numbers].reduce((all, each) => all + each, 0);

async function measure(servers: Servers, build: Build, fleet: Quiet): Promise<Measured> {
  const url = await servers.database(`quiet_${fleet.name}`);
  await build.prepareDatabase({ url });
  const sql = build.connect(url, { max: 1, applicationName: 'bench' });
  await addTenants(sql);
  const env = {
    PATH: process.env['PATH'],
    HOME: process.env['HOME'],
    DATABASE_URL: url,
    ...(fleet.store === 'redis' ? { REDIS_URL: servers.redisUrl } : {}),
    ...(fleet.handlers === undefined ? {} : { PURSER_HANDLERS: fleet.handlers }),
    LOG_LEVEL: 'warn',
  };
  const worker = startRole(dist, 'worker', env);
  const scheduler = startRole(dist, 'scheduler', env);
  const statements = await openStatements(servers, build.connect, `quiet_${fleet.name}`);
  const redis = openRedisCommands(servers.redisUrl);
  try {
    await Promise.all([worker.runs, scheduler.runs]);
    const [types] = await sql<{ count: number }[]>`
      select cardinality(job_types) as count from heartbeats where role = 'worker'`;
    await sql.end({ timeout: 5 });
    await sleep(settleMs);
    const readers = {
      scheduler: () => cpuMs(scheduler.child.pid ?? 0),
      worker: () => cpuMs(worker.child.pid ?? 0),
      Postgres: () => treeCpuMs(servers.postgresPid),
      Redis: () => cpuMs(servers.redisPid),
    };
    await statements.reset();
    const commandsBefore = await redis.count();
    const cpuBefore = readCpu(readers);
    const startedMs = performance.now();
    await sleep(seconds * 1_000);
    const lasted = (performance.now() - startedMs) / 1_000;
    const cpu = readCpu(readers);
    const commands = await redis.count();
    const ran = await statements.read();
    const originCounts =
      fleet.store === 'redis' ? await redis.origins(sleep(seconds * 1_000)) : new Map();
    return {
      fleet,
      jobTypes: types?.count ?? 0,
      cpu: Object.fromEntries(
        Object.entries(cpu).map(([name, ms]) => [
          name,
          rounded((ms - (cpuBefore[name] ?? 0)) / lasted / 10, 2),
        ]),
      ),
      commands: new Map(
        [...commands].map(([name, count]) => [
          name,
          (count - (commandsBefore.get(name) ?? 0)) / lasted,
        ]),
      ),
      origins: [...originCounts]
        .map(([origin, { sent, inScripts }]) => ({
          origin,
          'sent/s': rounded(sent / seconds, 2),
          'in scripts/s': rounded(inScripts / seconds, 2),
        }))
        .toSorted((a, b) => b['sent/s'] + b['in scripts/s'] - a['sent/s'] - a['in scripts/s']),
      statements: ran.map(({ query, calls, execMs }) => ({
        query,
        perSecond: calls / lasted,
        msPerSecond: execMs / lasted,
      })),
    };
  } finally {
    redis.close();
    await statements.close();
    await Promise.all([worker, scheduler].map(({ child }) => endChild(child, 'SIGTERM')));
  }
}

const what = ({ fleet, jobTypes }: Measured): string =>
  `queues in ${fleet.store === 'redis' ? 'Redis' : 'Postgres'}, ${jobTypes} job types`;

function verdict({ commands }: Measured): string {
  const perSecond = sum(commands.values());
  const met = perSecond < redisLimit ? 'met' : 'not met';
  return `Redis with the built-in job types: ${perSecond.toFixed(2)} commands/s, those inside scripts too; limit ${redisLimit}: ${met}.`;
}

function overview(each: Measured): Row {
  const { cpu, commands, statements } = each;
  const percent = (name: string): string => `${cpu[name]} %`;
  return {
    fleet: what(each),
    'Redis commands/s': rounded(sum(commands.values()), 2),
    'Postgres statements/s': rounded(sum(statements.map(({ perSecond }) => perSecond)), 2),
    'ms of them/s': rounded(sum(statements.map(({ msPerSecond }) => msPerSecond)), 2),
    scheduler: percent('scheduler'),
    worker: percent('worker'),
    Postgres: percent('Postgres'),
    Redis: percent('Redis'),
  };
}

function redisSection(each: Measured): Section {
  const named = [...each.commands]
    .filter(([, perSecond]) => perSecond > 0)
    .toSorted(([, a], [, b]) => b - a)
    .map(([name, perSecond]) => `${name} ${perSecond.toFixed(2)}`);
  return {
    name: 'redis',
    title: `${what(each)}: commands per second by origin, in a further ${seconds} s`,
    rows: each.origins,
    notes: [`By name, inside scripts too: ${named.join(', ')}.`],
  };
}

function statementsSection(each: Measured): Section {
  return {
    name: 'statements',
    title: `${what(each)}: the most frequent statements`,
    rows: each.statements.slice(0, shownStatements).map(({ query, perSecond, msPerSecond }) => ({
      '/s': rounded(perSecond, 2),
      'ms/s': rounded(msPerSecond, 3),
      statement: query.slice(0, 110),
    })),
    notes: [],
  };
}

const startedMs = performance.now();
const servers = await startServers(measuringSettings);
try {
  const build = await loadBuild(dist);
  const measured: Measured[] = [];
  for (const fleet of fleets) measured.push(await measure(servers, build, fleet));
  const sections: Section[] = [
    {
      name: 'quiet',
      title: `${tenants} tenants, none due, 1 scheduler, 1 worker, default settings; CPU of one core`,
      rows: measured.map(overview),
      notes: measured.filter(({ fleet }) => fleet.name === 'redis').map(verdict),
    },
    ...measured.filter(({ fleet }) => fleet.store === 'redis').map(redisSection),
    ...measured.map(statementsSection),
  ];
  const about = aboutRun(
    servers,
    `all defaults, ${Object.keys(measuringSettings).join(' ')}`,
    startedMs,
  );
  if (values.json === true) console.log(JSON.stringify({ about, sections }, null, 2));
  else {
    for (const [name, value] of Object.entries(about)) console.log(`${name.padEnd(10)} ${value}`);
    for (const section of sections) printSection(section);
  }
} finally {
  await servers.stop();
}
