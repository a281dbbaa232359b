/** Ways to charge calls to a budget: Purser's, its rows written under SELECT ... FOR UPDATE, and check-then-record. */
import { randomUUID } from 'node:crypto';
import type { PinnedPrice } from '../../src/budget/pinned-price.ts';
import { gatherCharges } from '../../src/budget/charges.ts';
import type { Charges } from '../../src/budget/charges.ts';
import { checkAndReserve, markSent } from '../../src/budget/reserve.ts';
import type { ReserveRequest } from '../../src/budget/reserve.ts';
import { recordUsage } from '../../src/budget/settle.ts';
import type { Sql } from '../../src/db/connect.ts';
import { codeOf } from '../../src/errors.ts';
import type { TestAttempt } from '../../test/support/tenants.ts';

export interface Way {
  readonly name: string;
  /** Returns the id of the call, or undefined when the budget does not admit it. */
  reserve(sql: Sql, attempt: TestAttempt): Promise<string | undefined>;
  /** Just before the request leaves. */
  send(sql: Sql, id: string, attempt: TestAttempt): Promise<void>;
  /** Charges what was held. */
  settle(sql: Sql, attempt: TestAttempt, id: string): Promise<void>;
}

/** Of one call: held, and then charged. */
export const costUsd = '0.001';
const costNanoUsd = 1_000_000n;

const price: PinnedPrice = {
  source: 'bench',
  model: 'bench',
  rates: { input: { usd: '1' }, output: { usd: '1' } },
};
const items = [
  { class: 'input', count: 200, usd: '2', per: 1_000_000 },
  { class: 'output', count: 150, usd: '4', per: 1_000_000 },
] as const;

const requestOf = (attempt: TestAttempt, holdNanoUsd: bigint): ReserveRequest => ({
  ...attempt,
  idempotencyKey: randomUUID(),
  holdNanoUsd,
  ttlMs: 60_000,
  provider: 'bench',
  model: 'bench',
  price,
});

const reserveHold = async (sql: Sql, attempt: TestAttempt, nanoUsd: bigint) =>
  (await checkAndReserve(sql, requestOf(attempt, nanoUsd))).reservationId;

const unlessRefused = (error: unknown): undefined => {
  if (codeOf(error) !== 'budget_exceeded') throw error;
};

/** Each call by itself, as the only one of its tenant in its worker. */
export const purserAlone: Way = {
  name: 'Purser, each alone',
  reserve: (sql, attempt) => reserveHold(sql, attempt, costNanoUsd).catch(unlessRefused),
  send: async (sql, reservationId) => {
    if (!(await markSent(sql, { reservationId }))) throw new Error('the hold has ended');
  },
  settle: async (sql, _attempt, reservationId) => {
    await recordUsage(sql, { reservationId, items });
  },
};

/** Calls are divided among so many workers, each of which gathers its own. */
const WORKERS = 4;

/** As workers do it: the calls of a tenant that meet in a worker go together. */
export function purserWorkers(name = 'Purser'): Way {
  const workers = new WeakMap<Sql, readonly Charges[]>();
  const chargesOf = new Map<string, Charges>();
  const anyWorker = (sql: Sql): Charges => {
    const known = workers.get(sql) ?? Array.from({ length: WORKERS }, () => gatherCharges(sql));
    workers.set(sql, known);
    const one = known[Math.floor(Math.random() * WORKERS)];
    if (one === undefined) throw new Error('there are no workers');
    return one;
  };
  return {
    name,
    reserve: async (sql, attempt) => {
      const charges = anyWorker(sql);
      const reserved = await charges.reserve(requestOf(attempt, costNanoUsd)).catch(unlessRefused);
      if (reserved === undefined) return undefined;
      chargesOf.set(reserved.reservationId, charges);
      return reserved.reservationId;
    },
    send: async (_sql, reservationId, { tenantId }) => {
      const isSent = await chargesOf.get(reservationId)?.markSent(tenantId, reservationId);
      if (isSent !== true) throw new Error('the hold has ended');
    },
    settle: async (_sql, { tenantId }, reservationId) => {
      await chargesOf.get(reservationId)?.settle(tenantId, { reservationId, items });
      chargesOf.delete(reservationId);
    },
  };
}

/** A reserve that no budget admits. */
export const refuse = (sql: Sql, attempt: TestAttempt): Promise<unknown> =>
  reserveHold(sql, attempt, 10n ** 17n).catch(unlessRefused);

/** Makes the reserves of a database wait for the disk, as every other transaction. */
export async function makeReservesDurable(sql: Sql): Promise<void> {
  await sql.unsafe(`
    create function public.bench_durable() returns trigger language plpgsql as $$
    begin
      perform set_config('synchronous_commit', 'on', true);
      return null;
    end $$;
    create trigger bench_durable after insert on public.llm_reservations
    for each row execute function public.bench_durable()`);
}

/** One transaction to reserve and one to settle: each locks the period, decides in code, and writes the same rows. */
export const forUpdate: Way = {
  name: 'FOR UPDATE',
  reserve: (sql, { tenantId, jobId, attempt }) =>
    inTransaction(sql, async (tx) => {
      const id = randomUUID();
      const [period] = await tx<{ budgetId: string; start: string; fits: boolean }[]>`
        select p.budget_id as "budgetId", p.period_start::text as start,
          p.spent_usd + p.unknown_usd + p.reserved_usd + ${costUsd} <= b.monthly_limit_usd as fits
        from llm_budget_periods p join llm_budgets b on b.id = p.budget_id
        where p.tenant_id = ${tenantId} for update of p`;
      if (period?.fits !== true) return undefined;
      const { budgetId, start } = period;
      await tx`
        insert into llm_reservations (id, budget_id, period_start, tenant_id, job_id, attempt,
          estimated_cost_usd, expires_at, idempotency_key, provider, model, price)
        values (${id}, ${budgetId}, ${start}, ${tenantId}, ${jobId}, ${attempt}, ${costUsd},
          now() + interval '1 minute', ${id}, 'bench', 'bench', ${JSON.stringify(price)}::text::jsonb)`;
      await tx`
        update llm_budget_periods set reserved_usd = reserved_usd + ${costUsd}
        where budget_id = ${budgetId} and period_start = ${start}`;
      await tx`
        insert into llm_ledger (tenant_id, budget_id, period_start, reservation_id, event,
          reserved_delta_usd, spent_delta_usd, unknown_delta_usd, available_delta_usd)
        values (${tenantId}, ${budgetId}, ${start}, ${id}, 'reserve', ${costUsd}, 0, 0, -${costUsd}::numeric)`;
      return id;
    }),
  send: async (sql, id) => {
    await sql`update llm_reservations set sent_at = now() where id = ${id}`;
  },
  settle: (sql, { tenantId }, id) =>
    inTransaction(sql, async (tx) => {
      const [period] = await tx<{ budgetId: string; start: string }[]>`
        select budget_id as "budgetId", period_start::text as start
        from llm_budget_periods where tenant_id = ${tenantId} for update`;
      if (period === undefined) throw new Error('the tenant has no period');
      const { budgetId, start } = period;
      await tx`update llm_reservations set status = 'APPLIED', closed_at = now() where id = ${id}`;
      await tx`
        insert into llm_usage (reservation_id, tenant_id, input_tokens, output_tokens, cost_usd, overage_usd, items)
        values (${id}, ${tenantId}, 200, 150, ${costUsd}, 0, 2)`;
      await tx`
        insert into llm_usage_items (reservation_id, class, tenant_id, count, usd, per, amount_usd)
        values (${id}, 'input', ${tenantId}, 200, 2, 1000000, 0.0004),
          (${id}, 'output', ${tenantId}, 150, 4, 1000000, 0.0006)`;
      await tx`
        insert into llm_ledger (tenant_id, budget_id, period_start, reservation_id, event,
          reserved_delta_usd, spent_delta_usd, unknown_delta_usd, available_delta_usd)
        values (${tenantId}, ${budgetId}, ${start}, ${id}, 'settle', -${costUsd}::numeric, ${costUsd}, 0, 0)`;
      await tx`
        update llm_budget_periods
        set reserved_usd = reserved_usd - ${costUsd}, spent_usd = spent_usd + ${costUsd}
        where budget_id = ${budgetId} and period_start = ${start}`;
    }),
};

async function inTransaction<T>(sql: Sql, run: (tx: Sql) => Promise<T>): Promise<T> {
  const connection = await sql.reserve();
  try {
    await connection`begin`;
    const result = await run(connection);
    await connection`commit`;
    return result;
  } finally {
    connection.release();
  }
}

/** What gateways do: look whether something is left, call, and add the cost. Nothing is held meanwhile. */
export const checkThenRecord: Way = {
  name: 'check-then-record',
  reserve: async (sql, { tenantId }) => {
    const [row] = await sql<{ fits: boolean }[]>`
      select p.spent_usd + ${costUsd} <= b.monthly_limit_usd as fits
      from llm_budget_periods p join llm_budgets b on b.id = p.budget_id
      where p.tenant_id = ${tenantId}`;
    return row?.fits === true ? randomUUID() : undefined;
  },
  send: async () => {},
  settle: async (sql, { tenantId }, id) => {
    await sql`
      with recorded as (
        insert into public.bench_calls (id, tenant_id, cost_usd) values (${id}, ${tenantId}, ${costUsd})
      )
      update llm_budget_periods set spent_usd = spent_usd + ${costUsd} where tenant_id = ${tenantId}`;
  },
};

export async function createCallsTable(sql: Sql): Promise<void> {
  await sql`
    create table public.bench_calls (
      id uuid primary key, tenant_id text not null, cost_usd numeric not null, at timestamptz not null default now())`;
}
