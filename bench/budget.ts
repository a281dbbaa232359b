/**
 * What charging a call costs: reserve and settle of Purser, of the same rows written under SELECT ... FOR UPDATE, and of
 * check-then-record, for 1,000 tenants and for one, at 8 and 50 clients; a reserve whose commit waits for the disk; a
 * refusal; and what each way overspends. In one run on one server, fsync and synchronous commit on, alternating order.
 * Usage: npm run bench:budget -- [--seconds N] [--json]
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { verifyBudgets } from '../src/budget/verify.ts';
import { connect } from '../src/db/connect.ts';
import type { Sql } from '../src/db/connect.ts';
import { printSection, quantile, rounded } from './jobs/report.ts';
import type { Row, Section } from './jobs/report.ts';
import { postgresSettings } from './jobs/servers.ts';
import type { TestAttempt } from '../test/support/tenants.ts';
import { addAttempts, charge, repeat } from './budget/load.ts';
import type { Took } from './budget/load.ts';
import { startBenchPostgres } from './budget/server.ts';
import {
  checkThenRecord,
  costUsd,
  createCallsTable,
  forUpdate,
  makeReservesDurable,
  purserAlone,
  purserWorkers,
  refuse,
} from './budget/ways.ts';
import type { Way } from './budget/ways.ts';

/** The checklist's limit for an operation. */
const LIMIT_MS = 100;
const ROUNDS = 2;
const TENANTS = [1_000, 1] as const;
const CLIENTS = [8, 50] as const;
/** The calls of four workers share eight connections: a worker has two. */
const LOADS = [
  { clients: 8, connections: 8 },
  { clients: 50, connections: 50 },
  { clients: 50, connections: 8 },
] as const;

/** The second in a database of its own, where a trigger makes reserves wait for the disk. */
const [purser, durable] = [purserWorkers(), purserWorkers('Purser, durable reserve')];

interface Databases {
  readonly usual: Sql;
  readonly durable: Sql;
  /** Of check-then-record, whose counters no ledger explains. */
  readonly unheld: Sql;
}

const ways: readonly (readonly [Way, keyof Databases])[] = [
  [forUpdate, 'usual'],
  [purser, 'usual'],
  [purserAlone, 'usual'],
  [durable, 'durable'],
  [checkThenRecord, 'unheld'],
];

export async function run(seconds = 2): Promise<readonly Section[]> {
  const server = await startBenchPostgres({ max_connections: '200' });
  const opened: Sql[] = [];
  try {
    const urls = {
      usual: await server.database('usual'),
      durable: await server.database('durable'),
      unheld: await server.database('unheld'),
    };
    const open = (connections: number): Databases => {
      const of = (name: keyof Databases) => {
        const sql = connect(urls[name], { max: connections, applicationName: 'purser bench' });
        opened.push(sql);
        return sql;
      };
      return { usual: of('usual'), durable: of('durable'), unheld: of('unheld') };
    };
    const databases = open(Math.max(...CLIENTS));
    await makeReservesDurable(databases.durable);
    await createCallsTable(databases.unheld);
    const sections = [
      await measureCosts(
        new Map([
          [50, databases],
          [8, open(8)],
        ]),
        seconds,
      ),
      await measureRefusals(databases.usual, seconds),
      await measureOverspend(databases),
    ];
    for (const sql of [databases.usual, databases.durable]) await assertRight(sql);
    return sections;
  } finally {
    await Promise.all(opened.map((sql) => sql.end({ timeout: 5 })));
    await server.stop();
  }
}

async function assertRight(sql: Sql): Promise<void> {
  const { differences } = await verifyBudgets(sql);
  if (differences.length === 0) return;
  throw new Error(`budget verify found differences: ${JSON.stringify(differences.slice(0, 5))}`);
}

async function measureCosts(
  pools: ReadonlyMap<number, Databases>,
  seconds: number,
): Promise<Section> {
  const rows: Row[] = [];
  for (const count of TENANTS) {
    const attempts = new Map<string, readonly TestAttempt[]>();
    const [databases] = pools.values();
    for (const [database, sql] of Object.entries(databases ?? {}) as [string, Sql][]) {
      const name = `tenants-of-${count}`;
      attempts.set(database, await addAttempts(sql, { name, count, limitUsd: '1000000' }));
    }
    for (const { clients, connections } of LOADS) {
      const samples = new Map<string, Took[]>();
      for (let round = 0; round <= ROUNDS; round += 1) {
        // The first round, a short one, opens connections and prepares statements.
        const order = round % 2 === 0 ? ways : ways.toReversed();
        for (const [way, database] of order) {
          const sql = pools.get(connections)?.[database];
          if (sql === undefined) throw new Error(`no pool of ${connections} connections`);
          const own = attempts.get(database) ?? [];
          const lasting = round === 0 ? 0.5 : seconds;
          const took = await charge(way, { sql, attempts: own, clients, seconds: lasting });
          const before = samples.get(way.name) ?? [];
          samples.set(way.name, round === 0 ? [] : [...before, took]);
        }
      }
      rows.push(...rowsOf(samples, { tenants: count, clients, connections }));
    }
  }
  return {
    name: 'costs',
    title:
      'reserve and settle of a call, in milliseconds, and whole calls (with the mark as sent) per second',
    rows,
    notes: [`limit of the checklist: ${LIMIT_MS} ms per operation`],
  };
}

function rowsOf(samples: ReadonlyMap<string, readonly Took[]>, about: Row): Row[] {
  const perSecond = (took: readonly Took[]) =>
    took.reduce((sum, { settleMs }) => sum + settleMs.length, 0) /
    took.reduce((sum, { seconds }) => sum + seconds, 0);
  const usual = perSecond(samples.get(forUpdate.name) ?? []);
  return [...samples].map(([way, took]) => {
    const reserveMs = took.flatMap((one) => one.reserveMs);
    const settleMs = took.flatMap((one) => one.settleMs);
    const rate = perSecond(took);
    return {
      ...about,
      way,
      'reserve p50': rounded(quantile(reserveMs, 0.5), 2),
      p99: rounded(quantile(reserveMs, 0.99), 1),
      'settle p50': rounded(quantile(settleMs, 0.5), 2),
      'settle p99': rounded(quantile(settleMs, 0.99), 1),
      'calls/s': rounded(rate, 0),
      'x FOR UPDATE': rounded(rate / usual, 2),
    };
  });
}

async function measureRefusals(sql: Sql, seconds: number): Promise<Section> {
  const attempts = await addAttempts(sql, { name: 'refusals', count: 1, limitUsd: '1000' });
  const rows: Row[] = [];
  for (const clients of CLIENTS) {
    const load = { sql, attempts, clients, seconds };
    const steps = [
      ['reserve', (on: Sql, attempt: TestAttempt) => purser.reserve(on, attempt)],
      ['refusal', refuse],
    ] as const;
    for (const [step, run] of steps) {
      const { tookMs, seconds: lasted } = await repeat(run, load);
      rows.push({
        clients,
        step,
        p50: rounded(quantile(tookMs, 0.5), 2),
        p99: rounded(quantile(tookMs, 0.99), 1),
        'per second': rounded(tookMs.length / lasted, 0),
      });
    }
  }
  return {
    name: 'refusals',
    title: 'a refused reserve beside an admitted one, one tenant, in milliseconds',
    rows,
    notes: [],
  };
}

const FITTING = 100;
const CALL_MS = 10;

/** A budget for 100 calls, and 50 clients that call until it refuses. */
async function measureOverspend(databases: Databases): Promise<Section> {
  const rows: Row[] = [];
  for (const [index, [way, database]] of ways.entries()) {
    const sql = databases[database];
    const limit = Number(costUsd) * FITTING;
    const name = `overspend-${index}`;
    const [attempt] = await addAttempts(sql, { name, count: 1, limitUsd: limit.toFixed(9) });
    if (attempt === undefined) throw new Error('there is no tenant');
    const client = async () => {
      for (;;) {
        const id = await way.reserve(sql, attempt);
        if (id === undefined) return;
        await way.send(sql, id, attempt);
        await sleep(CALL_MS);
        await way.settle(sql, attempt, id);
      }
    };
    await Promise.all(Array.from({ length: 50 }, client));
    const [row] = await sql<{ spent: string }[]>`
      select spent_usd as spent from llm_budget_periods where tenant_id = ${attempt.tenantId}`;
    const share = Number(row?.spent) / limit;
    rows.push({
      way: way.name,
      'budget for calls': FITTING,
      'spent, in calls': rounded(share * FITTING, 0),
      overspend: `${rounded(Math.max(0, share - 1) * 100, 1)} %`,
    });
  }
  return {
    name: 'overspend',
    title: `what 50 clients spend of a budget, with calls of ${CALL_MS} ms`,
    rows,
    notes: [],
  };
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { values } = parseArgs({
    options: { seconds: { type: 'string' }, json: { type: 'boolean' } },
  });
  const startedMs = performance.now();
  const sections = await run(values.seconds === undefined ? undefined : Number(values.seconds));
  if (values.json === true) console.log(JSON.stringify(sections, null, 2));
  else {
    for (const section of sections) printSection(section);
    const settings = Object.entries(postgresSettings).map(([name, value]) => `${name}=${value}`);
    console.log(
      `\n${Math.round((performance.now() - startedMs) / 1000)} s; fsync=on ${settings.join(' ')}`,
    );
  }
}
