/**
 * The proof of money: 100,000 random concurrent operations over 200 tenants with processes that are killed, and 10,000
 * calls to a provider that fails one in twenty. Overspend, leaked holds and lost usage are counted, and must be 0.
 * `--wrong` runs functions with a fault each, which must all be found. Ends with exit code 1 otherwise.
 * Usage: npm run bench:money -- [--only storm|calls] [--operations N] [--calls N] [--crashes N] [--seed N] [--wrong]
 */
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { formatUsd } from '../src/budget/money.ts';
import { connect } from '../src/db/connect.ts';
import type { Sql } from '../src/db/connect.ts';
import { install, stormMutants } from '../test/budget/model/mutants.ts';
import { runStorm } from '../test/budget/storm/storm.ts';
import type { StormReport } from '../test/budget/storm/storm.ts';
import { runFaultyCalls, usdOf } from '../test/llm/provider/faulty-calls.ts';
import type { FaultyCallsReport } from '../test/llm/provider/faulty-calls.ts';
import { startBenchPostgres } from './budget/server.ts';
import type { BenchPostgres } from './budget/server.ts';

interface RunOptions {
  readonly operations: number;
  readonly calls: number;
  readonly crashes: number;
  readonly seed: number;
}

const defaults: RunOptions = { operations: 100_000, calls: 10_000, crashes: 100, seed: 1 };
/** The processes of the storm are killed, Postgres is not. */
const settings = { fsync: 'off' };
const sections = ['storm', 'calls'] as const;

/** Runs on a database of its own. */
async function on<T>(
  server: BenchPostgres,
  name: string,
  run: (sql: Sql, url: string) => Promise<T>,
): Promise<T> {
  const url = await server.database(name);
  const sql = connect(url, { max: 16, applicationName: 'purser bench' });
  try {
    return await run(sql, url);
  } finally {
    await sql.end({ timeout: 5 });
  }
}

interface Storm extends Omit<RunOptions, 'calls'> {
  readonly sql: Sql;
  readonly url: string;
  readonly onProgress?: (share: number) => void;
}

const storm = (options: Storm) => runStorm({ ...options, tenants: 200, processes: 4, lanes: 6 });

/** Says each tenth part on standard error, for runs that take minutes. */
function progress(): (share: number) => void {
  let said = 0;
  return (share) => {
    if (share < said + 0.1) return;
    said = Math.floor(share * 10) / 10;
    process.stderr.write(`  ${Math.round(said * 100)} %\n`);
  };
}

function wrongIn(report: StormReport): string[] {
  const { overspends, leakedHolds, book, bookAfterResolution, faults } = report;
  const { lostUsage, unbilled } = book;
  const owed = bookAfterResolution.billNanoUsd - bookAfterResolution.spentNanoUsd;
  return [
    ...(overspends === 0 ? [] : [`${overspends} admissions above a limit`]),
    ...(leakedHolds === 0 ? [] : [`${leakedHolds} leaked holds`]),
    ...(lostUsage === 0 ? [] : [`${lostUsage} billed calls lost`]),
    ...(unbilled === 0 ? [] : [`${unbilled} calls charged that were not billed`]),
    ...(owed === 0n ? [] : [`after resolution spent differs from the bill by $${formatUsd(owed)}`]),
    ...faults,
  ];
}

function printStorm(report: StormReport): void {
  const { book, bookAfterResolution: after, counts, crashes, killedWhileSettling } = report;
  const usd = (nanoUsd: bigint) => `$${formatUsd(nanoUsd)}`;
  const listed = (named: object) =>
    Object.entries(named)
      .map(([name, count]) => `${name} ${count}`)
      .join(', ');
  console.log(`storm: ${report.operations} operations over 200 tenants in ${report.months} months
  ${listed(counts)}
  processes killed: ${listed(crashes)}; of the calls killed while settling ${listed(killedWhileSettling)}
  overspend ${report.overspends} ($${report.overspentUsd}), of which of scopes ${report.scopeOverspends}, leaked holds ${report.leakedHolds}, lost usage ${book.lostUsage}
  provider's book: ${book.billedCalls} calls, ${usd(book.billNanoUsd)}; spent ${usd(book.spentNanoUsd)} + unknown ${usd(book.unknownNanoUsd)}
  after resolution of ${report.resolved}: spent ${usd(after.spentNanoUsd)}, unknown ${usd(after.unknownNanoUsd)} (sent, never billed)
  ledger = counters = model: ${report.faults.length === 0 ? 'yes' : 'no'}; ${report.outOfIdOrder} entries whose ids are not in lock order`);
}

function printCalls(report: FaultyCallsReport): void {
  const { requests, repeated, failures, billNanoUsd, billedCalls } = report;
  console.log(`calls: ${requests} requests, ${repeated} of them repeated, with ${JSON.stringify(failures)}
  provider's book: ${billedCalls} calls, $${formatUsd(billNanoUsd)}; ${usdOf(report)}; lost usage ${report.lostUsage}
  after resolution of ${report.resolved}: ${usdOf(report.afterResolution)}; charged twice ${report.chargedTwice}`);
}

function wrongInCalls(report: FaultyCallsReport): string[] {
  const { spentNanoUsd, unknownNanoUsd, billNanoUsd, lostUsage, chargedTwice } = report;
  return [
    ...(spentNanoUsd + unknownNanoUsd >= billNanoUsd ? [] : ['spent + unknown < the bill']),
    ...(report.afterResolution.spentNanoUsd === billNanoUsd
      ? []
      : ['resolved, spent is not the bill']),
    ...(lostUsage + chargedTwice === 0 ? [] : ['usage was lost or charged twice']),
  ];
}

/** Returns what is wrong. */
async function run(only: readonly string[], options: RunOptions): Promise<string[]> {
  const server = await startBenchPostgres(settings);
  const wrong: string[] = [];
  try {
    if (only.includes('storm')) {
      const report = await on(server, 'storm', (sql, url) =>
        storm({ ...options, sql, url, onProgress: progress() }),
      );
      printStorm(report);
      wrong.push(...wrongIn(report));
    }
    if (only.includes('calls')) {
      const { calls, seed } = options;
      const report = await on(server, 'calls', (sql) =>
        runFaultyCalls({ sql, calls, lanes: 16, faultShare: 0.05, seed, timeoutMs: 2_000 }),
      );
      printCalls(report);
      wrong.push(...wrongInCalls(report));
    }
    return wrong;
  } finally {
    await server.stop();
  }
}

/** Returns the names of wrong functions that were not found. */
async function runWrong(options: RunOptions): Promise<string[]> {
  const server = await startBenchPostgres(settings);
  const missed: string[] = [];
  try {
    for (const [index, mutant] of stormMutants.entries()) {
      const found = await on(server, `wrong_${index}`, async (sql, url) => {
        await install(sql, mutant);
        return wrongIn(await storm({ ...options, sql, url }));
      });
      console.log(`${found.length > 0 ? 'found' : 'MISSED'}: ${mutant.name}\n  ${found[0] ?? ''}`);
      if (found.length === 0) missed.push(mutant.name);
    }
    return missed;
  } finally {
    await server.stop();
  }
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { values } = parseArgs({
    options: {
      only: { type: 'string' },
      operations: { type: 'string' },
      calls: { type: 'string' },
      crashes: { type: 'string' },
      seed: { type: 'string' },
      wrong: { type: 'boolean' },
    },
  });
  const small = { operations: 4_000, crashes: 10 };
  const numbers = Object.entries(values)
    .filter(([name]) => name in defaults)
    .map(([name, text]) => [name, Number(text)] as const);
  const options = {
    ...defaults,
    ...(values.wrong === true ? small : {}),
    ...Object.fromEntries(numbers),
  };
  const only = values.only === undefined ? sections : [values.only];
  const startedMs = performance.now();
  const wrong = values.wrong === true ? await runWrong(options) : await run(only, options);
  console.log(`${Math.round((performance.now() - startedMs) / 1000)} s`);
  for (const line of wrong) console.error(`wrong: ${line}`);
  if (wrong.length > 0) process.exitCode = 1;
}
