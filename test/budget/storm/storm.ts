/**
 * Random concurrent reserves, settlements, replays, sweeps and changed limits and scopes over many tenants, by processes that are
 * killed while they work, against a provider with a book of its own. The CHECK constraints are dropped, so that wrong
 * counters are written and found.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { releaseExpiredReservations } from '../../../src/budget/expire.ts';
import { formatUsd } from '../../../src/budget/money.ts';
import type { Sql } from '../../../src/db/connect.ts';
import { addTenant, startAttempt } from '../../support/tenants.ts';
import { dropChecks } from '../model/checks.ts';
import { startProviderBook } from './book.ts';
import { compareBook, resolveUnknown } from './compare-book.ts';
import type { BookCompared } from './compare-book.ts';
import { recordLockOrder } from './lock-order.ts';
import type { Counts, CrashPoint, StormTenant } from './order.ts';
import { runProcesses } from './processes.ts';
import { randomOf } from './random.ts';
import { compareEnd, replayLedger } from './replay.ts';
import { addScopes, scopesOf } from './scopes.ts';

export interface StormOptions {
  /** A migrated database of its own, whose constraints are dropped. */
  readonly url: string;
  readonly sql: Sql;
  readonly operations: number;
  readonly tenants: number;
  readonly processes: number;
  readonly lanes: number;
  readonly crashes: number;
  readonly seed: number;
  /** Called with the share that is done, 0 to 1. */
  readonly onProgress?: (share: number) => void;
}

export interface StormReport {
  readonly operations: number;
  readonly counts: Counts;
  /** Processes killed, by where they were. */
  readonly crashes: Partial<Record<CrashPoint, number>>;
  /** Of the calls that were being settled when their process was killed. */
  readonly killedWhileSettling: { readonly settled: number; readonly unknown: number };
  readonly months: number;
  readonly overspends: number;
  readonly overspentUsd: string;
  /** Of the overspends those of scopes. */
  readonly scopeOverspends: number;
  readonly leakedHolds: number;
  readonly book: BookCompared;
  readonly resolved: number;
  readonly bookAfterResolution: BookCompared;
  readonly outOfIdOrder: number;
  /** Everything else that is wrong. */
  readonly faults: readonly string[];
}

const startsAt = Date.parse('2026-01-15T00:00:00Z');
const spanMs = 75 * 86_400_000;
const months = ['2026-01-01', '2026-02-01', '2026-03-01'];
const reportedFaults = 20;

export async function runStorm(options: StormOptions): Promise<StormReport> {
  const { sql, seed } = options;
  await dropChecks(sql);
  const tenants = await addTenants(sql, options.tenants);
  await recordLockOrder(sql);
  for (const tenant of tenants) await addScopes(sql, tenant, new Date(startsAt));
  const random = randomOf(seed);
  const provider = await startProviderBook(random);
  try {
    const ran = await runProcesses(options, random, {
      url: options.url,
      providerUrl: provider.url,
      seed,
      lanes: options.lanes,
      startsAt,
      spanMs,
      tenants,
    });
    await untilSessionsEnded(sql);
    const now = new Date(startsAt + 10 * spanMs);
    await releaseExpiredReservations({ sql, now, limit: 1_000_000 });
    const [left] = await sql<{ holds: number; months: number }[]>`
      select (select count(*)::int from llm_reservations where status = 'RESERVED')
          + (select count(*)::int from llm_budget_periods where reserved_usd <> 0) as holds,
        (select count(distinct period_start)::int from llm_ledger) as months`;
    const killedWhileSettling = await endsOf(sql, ran.settling);
    const book = await compareBook(sql, provider.billed);
    const replayed = await replayLedger(sql);
    const faults = [...ran.faults, ...replayed.faults, ...(await compareEnd(sql, replayed))];
    const resolution = await resolveUnknown(sql, provider.billed);
    faults.push(...resolution.faults);
    const bookAfterResolution = await compareBook(sql, provider.billed);
    const end = await replayLedger(sql);
    faults.push(...end.faults, ...(await compareEnd(sql, end)));
    if (provider.repeated() > 0) faults.push(`${provider.repeated()} calls were sent twice`);
    return {
      operations: ran.operations,
      counts: ran.counts,
      crashes: ran.crashes,
      killedWhileSettling,
      months: left?.months ?? 0,
      overspends: replayed.overspends + replayed.scopes.overspends,
      overspentUsd: formatUsd(replayed.overspentNanoUsd + replayed.scopes.overspentNanoUsd),
      scopeOverspends: replayed.scopes.overspends,
      leakedHolds: left?.holds ?? Number.NaN,
      book,
      resolved: resolution.resolved,
      bookAfterResolution,
      outOfIdOrder: replayed.outOfIdOrder,
      faults: [...new Set(faults)].slice(0, reportedFaults),
    };
  } finally {
    await provider.stop();
  }
}

/** Three of four have limits that change; those have their periods from the start, so that a change locks them. */
async function addTenants(sql: Sql, count: number): Promise<StormTenant[]> {
  const tenants: StormTenant[] = [];
  for (let index = 0; index < count; index += 1) {
    const changing = index % 4 !== 3;
    // The others get the limit of their plan with their first call.
    const limitUsd = changing ? '0.001' : undefined;
    const tenantId = await addTenant(sql, limitUsd === undefined ? {} : { limitUsd });
    if (changing) {
      await sql`
        insert into llm_budget_periods (budget_id, period_start, tenant_id)
        select b.id, m::date, b.tenant_id from llm_budgets b, unnest(${months}::text[]) m
        where b.tenant_id = ${tenantId}`;
    }
    const attempt = await startAttempt(sql, tenantId);
    const limitNanoUsd = changing ? '1000000' : '1000000000';
    const scopes = changing ? scopesOf(index) : [];
    tenants.push({ attempt, limitNanoUsd, changing, scopes });
  }
  return tenants;
}

/** A killed process leaves sessions that finish their statement. */
async function untilSessionsEnded(sql: Sql): Promise<void> {
  for (;;) {
    const [row] = await sql<{ sessions: number }[]>`
      select count(*)::int as sessions from pg_stat_activity
      where datname = current_database() and application_name = 'purser test storm'`;
    if (row?.sessions === 0) return;
    await sleep(25);
  }
}

/** What became of calls whose settlement was interrupted. */
async function endsOf(
  sql: Sql,
  ids: readonly string[],
): Promise<{ settled: number; unknown: number }> {
  const [row] = await sql<{ settled: number; unknown: number }[]>`
    select (count(*) filter (where status = 'APPLIED'))::int as settled,
      (count(*) filter (where status = 'UNKNOWN'))::int as unknown
    from llm_reservations where id = any(${[...ids]}::uuid[])`;
  return { settled: row?.settled ?? 0, unknown: row?.unknown ?? 0 };
}
