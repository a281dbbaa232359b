/**
 * Records in which order the periods were locked. A row of llm_ledger takes its id before or after its transaction has
 * locked the period, as the function likes, so ids are no proof. A trigger on the period's row runs under the lock, and
 * so does one on the limit where `setBudget` has locked all periods of the tenant: what they number is the lock order.
 */
import type { Sql } from '../../../src/db/connect.ts';

/** From now on movements and limits are recorded; the limits that exist come first. */
export async function recordLockOrder(sql: Sql): Promise<void> {
  await sql.unsafe(`
    create sequence public.storm_order;
    create table public.storm_moves (
      place bigint not null default nextval('public.storm_order'),
      transaction xid not null, budget_id uuid not null, period_start date not null,
      reserved_usd numeric not null, spent_usd numeric not null, unknown_usd numeric not null
    );
    create table public.storm_limits (
      place bigint not null default nextval('public.storm_order'),
      tenant_id text not null, limit_usd numeric not null, hard boolean not null
    );
    create function public.storm_move() returns trigger language plpgsql as $$
    begin
      insert into public.storm_moves (transaction, budget_id, period_start, reserved_usd, spent_usd, unknown_usd)
      values (pg_current_xact_id()::xid, new.budget_id, new.period_start, new.reserved_usd, new.spent_usd,
        new.unknown_usd);
      return null;
    end $$;
    create trigger storm_move after update on public.llm_budget_periods
    for each row execute function public.storm_move();
    create function public.storm_limit() returns trigger language plpgsql as $$
    begin
      insert into public.storm_limits (tenant_id, limit_usd, hard)
      values (new.tenant_id, new.monthly_limit_usd, new.hard_limit);
      return null;
    end $$;
    create trigger storm_limit after insert or update on public.llm_budgets
    for each row execute function public.storm_limit();
    insert into public.storm_limits (tenant_id, limit_usd, hard)
    select tenant_id, monthly_limit_usd, hard_limit from public.llm_budgets;
    create table public.storm_scope_limits (
      place bigint not null default nextval('public.storm_order'),
      scope_id bigint not null, tenant_id text not null, kind text not null, subject text not null,
      limit_usd numeric, limit_calls bigint, hard boolean not null
    );
    create function public.storm_scope_limit() returns trigger language plpgsql as $$
    begin
      insert into public.storm_scope_limits (scope_id, tenant_id, kind, subject, limit_usd, limit_calls, hard)
      values (new.id, new.tenant_id, new.kind, new.subject, new.limit_usd, new.limit_calls, new.hard_limit);
      return null;
    end $$;
    create trigger storm_scope_limit after insert or update on public.llm_scopes
    for each row execute function public.storm_scope_limit()`);
}

export interface LimitRow {
  readonly place: string;
  readonly tenantId: string;
  readonly limitUsd: string;
  readonly hard: boolean;
}

export interface EntryRow {
  /** Of the movement of its period; null when the transaction moved none. */
  readonly place: string | null;
  readonly id: string;
  readonly event: 'reserve' | 'settle' | 'release' | 'unknown';
  readonly tenantId: string;
  readonly period: string;
  readonly reservationId: string;
  readonly reserved: string;
  readonly spent: string;
  readonly unknown: string;
  readonly available: string;
  /** The counters that the movement left. */
  readonly left: readonly string[];
}

/** All ledger entries in lock order, and all limits. */
export async function readLockOrder(
  sql: Sql,
): Promise<{ readonly limits: readonly LimitRow[]; readonly entries: readonly EntryRow[] }> {
  const limits = await sql<LimitRow[]>`
    select place, tenant_id as "tenantId", limit_usd as "limitUsd", hard
    from storm_limits order by place`;
  const entries = await sql<EntryRow[]>`
    with entries as (
      select l.*, l.xmin as transaction,
        row_number() over (partition by l.xmin::text, l.budget_id, l.period_start order by l.id) as turn
      from llm_ledger l
    ), moves as (
      select m.*,
        row_number() over (partition by m.transaction::text, m.budget_id, m.period_start order by m.place) as turn,
        count(*) over (partition by m.transaction::text, m.budget_id, m.period_start) as moves
      from storm_moves m
    )
    -- A transaction moves the period once for each of its entries, in their order, or once for all of them.
    select m.place, l.id, l.event, l.tenant_id as "tenantId", l.period_start::text as period,
      l.reservation_id as "reservationId", l.reserved_delta_usd as reserved, l.spent_delta_usd as spent,
      l.unknown_delta_usd as unknown, l.available_delta_usd as available,
      array[m.reserved_usd, m.spent_usd, m.unknown_usd]::text[] as left
    from entries l
    left join moves m on m.transaction = l.transaction and m.budget_id = l.budget_id
      and m.period_start = l.period_start and (m.turn = l.turn or m.turn = 1 and m.moves = 1)
    order by m.place, l.id`;
  return { limits, entries };
}
