/**
 * Measures what reserve and settle add to a call, against the checklist's limit of 100 ms, and the same rows
 * written with SELECT ... FOR UPDATE in application transactions, in the same run on the same server.
 */
import { randomUUID } from 'node:crypto';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { PinnedPrice } from '../src/budget/pinned-price.ts';
import { checkAndReserve, markSent } from '../src/budget/reserve.ts';
import { recordUsage } from '../src/budget/settle.ts';
import { verifyBudgets } from '../src/budget/verify.ts';
import { connect } from '../src/db/connect.ts';
import type { Sql } from '../src/db/connect.ts';
import { startEmbeddedPostgres } from '../src/db/embedded/embedded.ts';
import { migrateUp } from '../src/db/migrate.ts';
import { newToken } from '../src/jobs/attempts.ts';
import { insertAttempt } from '../test/support/tenants.ts';

const LIMIT_MS = 100;
const WARM_UP = 300;
const CALLS = 2_000;
const CLIENTS = [1, 8, 50] as const;

export interface BenchRow {
  readonly operation: string;
  /** Parallel clients, all of one tenant: one hot row. */
  readonly clients: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly perSecond: number;
  /** Calls per second divided by those of FOR UPDATE; null for FOR UPDATE and refusals. */
  readonly timesForUpdate: number | null;
}

interface Attempt {
  readonly tenantId: string;
  readonly jobId: string;
  readonly attempt: number;
  readonly token: string;
}

type Call = (sql: Sql, attempt: Attempt) => Promise<void>;

const price: PinnedPrice = {
  source: 'bench',
  model: 'bench',
  rates: { input: { usd: '1' }, output: { usd: '1' } },
};
const items = [
  { class: 'input', count: 100, usd: '2', per: 1_000_000 },
  { class: 'output', count: 50, usd: '4', per: 1_000_000 },
] as const;

/** Reserve, mark as sent, settle. */
const reserveAndSettle: Call = async (sql, attempt) => {
  const hold = await checkAndReserve(sql, {
    ...attempt,
    idempotencyKey: randomUUID(),
    holdNanoUsd: 1000n,
    ttlMs: 60_000,
    provider: 'bench',
    model: 'bench',
    price,
  });
  await markSent(sql, hold);
  await recordUsage(sql, { reservationId: hold.reservationId, items });
};

/** A reserve that is refused. */
const refused: Call = async (sql, attempt) => {
  await checkAndReserve(sql, {
    ...attempt,
    idempotencyKey: randomUUID(),
    holdNanoUsd: 10n ** 17n,
    ttlMs: 60_000,
    provider: 'bench',
    model: 'bench',
    price,
  }).catch(() => {});
};

/** One transaction to reserve and one to settle, each of which locks the period and decides in code. */
const forUpdate: Call = async (sql, { tenantId, jobId, attempt }) => {
  const lock = (tx: Sql) => tx<{ budget_id: string; period_start: string; fits: boolean }[]>`
    select p.budget_id, p.period_start::text,
      p.spent_usd + p.unknown_usd + p.reserved_usd + 0.000001 <= b.monthly_limit_usd as fits
    from llm_budget_periods p join llm_budgets b on b.id = p.budget_id
    where p.tenant_id = ${tenantId} for update of p`;
  const id = randomUUID();
  const connection = await sql.reserve();
  try {
    await connection`begin`;
    const [period] = await lock(connection);
    if (period?.fits !== true) throw new Error('the budget of the benchmark is used up');
    const { budget_id: budgetId, period_start: start } = period;
    const book = (event: string, reserved: number, spent: number) => connection`
      insert into llm_ledger (tenant_id, budget_id, period_start, reservation_id, event,
        reserved_delta_usd, spent_delta_usd, unknown_delta_usd, available_delta_usd)
      values (${tenantId}, ${budgetId}, ${start}, ${id}, ${event},
        ${reserved}::numeric, ${spent}::numeric, 0, -(${reserved}::numeric + ${spent}::numeric))`;
    await connection`
      insert into llm_reservations (id, budget_id, period_start, tenant_id, job_id, attempt,
        estimated_cost_usd, expires_at, idempotency_key, provider, model, price)
      values (${id}, ${budgetId}, ${start}, ${tenantId}, ${jobId}, ${attempt}, 0.000001,
        now() + interval '1 minute', ${id}, 'bench', 'bench', ${JSON.stringify(price)}::text::jsonb)`;
    await connection`
      update llm_budget_periods set reserved_usd = reserved_usd + 0.000001
      where budget_id = ${budgetId} and period_start = ${start}`;
    await book('reserve', 0.000001, 0);
    await connection`commit`;
    await connection`update llm_reservations set sent_at = now() where id = ${id}`;
    await connection`begin`;
    await lock(connection);
    await connection`update llm_reservations set status = 'APPLIED', closed_at = now() where id = ${id}`;
    await connection`
      insert into llm_usage (reservation_id, tenant_id, input_tokens, output_tokens, cost_usd, overage_usd)
      values (${id}, ${tenantId}, 100, 50, 0.0000004, 0)`;
    await connection`
      update llm_budget_periods
      set reserved_usd = reserved_usd - 0.000001, spent_usd = spent_usd + 0.0000004
      where budget_id = ${budgetId} and period_start = ${start}`;
    await book('settle', -0.000001, 0.0000004);
    await connection`commit`;
  } finally {
    connection.release();
  }
};

/** Runs on a private Postgres with fsync off, so that locks and round trips are measured, not the disk. */
export async function run(): Promise<{ name: string; rows: BenchRow[] }> {
  const dataDir = await mkdtemp(join(tmpdir(), 'purser-bench-'));
  const server = await startEmbeddedPostgres({ dataDir, durable: false });
  const sql = connect(server.url, { max: Math.max(...CLIENTS), applicationName: 'purser bench' });
  try {
    await migrateUp(server.url);
    const rows: BenchRow[] = [];
    for (const clients of CLIENTS) {
      const usual = await measure(sql, 'FOR UPDATE', clients, forUpdate);
      const reserved = await measure(sql, 'reserve + send + settle', clients, reserveAndSettle);
      const refusal = await measure(sql, 'refusal', clients, refused);
      const timesForUpdate = reserved.perSecond / usual.perSecond;
      rows.push({ ...reserved, timesForUpdate }, usual, refusal);
    }
    const { differences } = await verifyBudgets(sql);
    if (differences.length > 0)
      throw new Error(`budget verify found differences: ${JSON.stringify(differences)}`);
    return { name: 'budget', rows };
  } finally {
    await sql.end({ timeout: 5 });
    await server.stop();
  }
}

async function measure(
  sql: Sql,
  operation: string,
  clients: number,
  call: Call,
): Promise<BenchRow> {
  const attempt = { tenantId: randomUUID(), jobId: '1', attempt: 1, token: newToken('1') };
  await sql`insert into tenants (id, plan) values (${attempt.tenantId}, 'enterprise')`;
  await insertAttempt(sql, attempt);
  await reserveAndSettle(sql, attempt);
  await spread(WARM_UP, clients, () => call(sql, attempt));
  const startedMs = performance.now();
  const tookMs = await spread(CALLS, clients, () => call(sql, attempt));
  const seconds = (performance.now() - startedMs) / 1000;
  const sorted = tookMs.toSorted((a, b) => a - b);
  const at = (share: number) => sorted[Math.floor(sorted.length * share)] ?? Number.NaN;
  const perSecond = CALLS / seconds;
  return { operation, clients, p50Ms: at(0.5), p99Ms: at(0.99), perSecond, timesForUpdate: null };
}

async function spread(calls: number, clients: number, run: () => Promise<void>): Promise<number[]> {
  const tookMs: number[] = [];
  let left = calls;
  const client = async () => {
    while (left > 0) {
      left -= 1;
      const startedMs = performance.now();
      await run();
      tookMs.push(performance.now() - startedMs);
    }
  };
  await Promise.all(Array.from({ length: clients }, client));
  return tookMs;
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { name, rows } = await run();
  console.log(
    `${name} (llm_budget_check): checklist limit ${LIMIT_MS} ms per call, one hot tenant`,
  );
  for (const { operation, clients, p50Ms, p99Ms, perSecond, timesForUpdate } of rows) {
    const figures = `p50 ${p50Ms.toFixed(2)} ms, p99 ${p99Ms.toFixed(2)} ms, ${perSecond.toFixed(0)}/s`;
    const ratio = timesForUpdate === null ? '' : `, ${timesForUpdate.toFixed(2)}x FOR UPDATE`;
    console.log(`  ${clients} clients, ${operation}: ${figures}${ratio}`);
  }
}
