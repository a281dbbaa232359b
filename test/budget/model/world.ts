/** What a run of commands knows: tenants of its own, a clock, the model, and the database beside it. */
import { formatUsd, parseUsd } from '../../../src/budget/money.ts';
import type { Sql } from '../../../src/db/connect.ts';
import { newToken } from '../../../src/jobs/attempts.ts';
import { addTenant, insertAttempt, startAttempt } from '../../support/tenants.ts';
import type { TestAttempt } from '../../support/tenants.ts';
import { createMoneyModel } from './money-model.ts';
import type { MoneyModel, Pin } from './money-model.ts';

/** The monthly limits of some plans (sql/0001_tenancy.sql), in nano-USD. */
export const planLimits = { free: 10n ** 9n, starter: 5n * 10n ** 9n } as const;
export type Plan = keyof typeof planLimits;

interface WorldTenant {
  readonly id: string;
  plan: Plan;
  /** A budget exists from the first reserve or the first limit on; until then its plan's limit applies. */
  limitSource: 'plan' | 'operator';
  /** How the tenant's own key counts; `none` where it has none. */
  ownKey: 'none' | 'apart' | 'counts';
  attempt: TestAttempt;
}

/** One of the definitions of scopes.ts. */
export interface WorldScope {
  readonly tenantId: string;
  readonly index: number;
}

/** What decides the accounts of a call. */
export interface WorldCall {
  readonly tenantId: string;
  readonly model: string;
  /** `platform`, or the tenant's own key. */
  readonly key: string;
  readonly countsApart: boolean;
  readonly at: number;
}

export const ownKey = 'own:openai';

export interface World {
  readonly money: MoneyModel;
  readonly scopes: WorldScope[];
  /** Of each reservation, by key of the model. */
  readonly calls: Map<string, WorldCall>;
  readonly tenants: readonly WorldTenant[];
  /** In milliseconds since 1970. */
  now: number;
  /** One unit of the amounts of commands, in nano-USD. */
  readonly scale: bigint;
}

export interface Real {
  readonly sql: Sql;
  /** Reservation ids by key of the model. */
  readonly ids: Map<string, string>;
}

export interface Start {
  readonly now: number;
  readonly scale: bigint;
}

export async function openWorld(sql: Sql, start: Start): Promise<{ model: World; real: Real }> {
  const money = createMoneyModel();
  const tenants: WorldTenant[] = [];
  for (const plan of ['free', 'starter'] as const) {
    const id = await addTenant(sql, { plan });
    money.setLimit(id, { amount: planLimits[plan], hard: true });
    money.setLimit(ownScope(id), unlimited);
    const attempt = await startAttempt(sql, id);
    tenants.push({ id, plan, limitSource: 'plan', ownKey: 'none', attempt });
  }
  return {
    model: { ...start, money, tenants, scopes: [], calls: new Map() },
    real: { sql, ids: new Map() },
  };
}

export const unlimited = { amount: 10n ** 30n, hard: true };

/** The account of what a tenant's own key spends apart from the budget. */
const ownScope = (tenantId: string): string => `${tenantId} own`;

/** The month that a call is counted in. */
export function monthPins({ tenantId, countsApart, at }: WorldCall): readonly Pin[] {
  const scope = countsApart ? ownScope(tenantId) : tenantId;
  return [{ scope, period: monthOf(at), unit: 'usd' }];
}

const monthOf = (now: number): string => `${new Date(now).toISOString().slice(0, 7)}-01`;

export const keyOf = (tenantId: string, key: string): string => `${tenantId} ${key}`;

/** The attempt ends, and the next one of its job begins. */
export async function nextAttempt(sql: Sql, tenant: WorldTenant): Promise<void> {
  const { jobId, attempt, token } = tenant.attempt;
  await sql`delete from purser.in_flight where token = ${token}`;
  tenant.attempt = { ...tenant.attempt, attempt: attempt + 1, token: newToken(jobId) };
  await insertAttempt(sql, tenant.attempt);
}

/** Accounts and reservations as text, for a comparison that shows what differs. */
export interface Picture {
  readonly accounts: Readonly<Record<string, string>>;
  readonly reservations: Readonly<Record<string, string>>;
  /** Ledger rows whose parts do not sum to zero. */
  readonly unbalanced: number;
}

export function pictureOfModel({ money, tenants }: World): Picture {
  const pins = new Map<string, Pin>();
  for (const { pins: held } of money.reservations.values()) {
    for (const pin of held) pins.set(`${pin.scope} ${pin.period}`, pin);
  }
  const accounts = [...pins].map(([name, pin]) => {
    const { reserved, spent, unknown } = money.countersOf(pin);
    const text =
      pin.unit === 'usd'
        ? accountText(formatUsd(reserved), formatUsd(spent), formatUsd(unknown))
        : `${reserved + spent + unknown} calls`;
    return [name, text] as const;
  });
  const open = [...money.reservations.values()].filter(({ key }) =>
    tenants.some(({ id }) => key.startsWith(id)),
  );
  return {
    accounts: Object.fromEntries(accounts),
    reservations: Object.fromEntries(
      open.map(({ key, status, sent }) => [key, sent ? `${status} sent` : status]),
    ),
    unbalanced: 0,
  };
}

/** Counters of accounts that never had a hold are left out; those of the others come with what the ledger says. */
export async function pictureOfDatabase(sql: Sql, tenantIds: readonly string[]): Promise<Picture> {
  const [accounts, reservations, scopes] = await Promise.all([
    sql<
      {
        name: string;
        counters: string[];
        booked: string[];
        entries: number;
        unbalanced: number;
      }[]
    >`
      select p.tenant_id || c.kind || p.period_start as name, l.entries::int, l.unbalanced::int,
        c.counters::text[] as counters, l.booked::text[]
      from llm_budget_periods p
      cross join lateral (values
        (' ', false, array[p.reserved_usd, p.spent_usd, p.unknown_usd]),
        (' own ', true, array[p.own_reserved_usd, p.own_spent_usd, p.own_unknown_usd])
      ) c (kind, apart, counters)
      cross join lateral (
        select count(*) as entries, array[coalesce(sum(l.reserved_delta_usd), 0),
          coalesce(sum(l.spent_delta_usd), 0), coalesce(sum(l.unknown_delta_usd), 0)] as booked,
          count(*) filter (where l.reserved_delta_usd + l.spent_delta_usd + l.unknown_delta_usd
            + l.available_delta_usd <> 0) as unbalanced
        from llm_ledger l where l.budget_id = p.budget_id and l.period_start = p.period_start
          and l.counts_apart = c.apart
      ) l
      where p.tenant_id = any(${[...tenantIds]})`,
    sql<{ name: string; status: string; sent: boolean }[]>`
      select tenant_id || ' ' || idempotency_key as name, status, sent_at is not null as sent
      from llm_reservations where tenant_id = any(${[...tenantIds]})`,
    scopeAccounts(sql, tenantIds),
  ]);
  const used = accounts.filter(({ entries }) => entries > 0);
  return {
    accounts: Object.fromEntries([
      ...used.map(({ name, counters, booked }) => {
        const [text, ledger] = [counters, booked].map((amounts) => accountText(...exact(amounts)));
        return [name, text === ledger ? (text ?? '') : `${text} but by its ledger ${ledger}`];
      }),
      ...scopes,
    ]),
    reservations: Object.fromEntries(
      reservations.map(({ name, status, sent }) => [name, sent ? `${status} sent` : status]),
    ),
    unbalanced: accounts.reduce((sum, { unbalanced }) => sum + unbalanced, 0),
  };
}

/** By the order of scopes.ts: of the tenant, of one model by month, of each model by day, of each key by day. */
async function scopeAccounts(
  sql: Sql,
  tenantIds: readonly string[],
): Promise<(readonly [string, string])[]> {
  const rows = await sql<{ name: string; starts: Date; counters: string[]; calls: string }[]>`
    select s.tenant_id || ' scope ' || case when s.kind = 'tenant' then '0' when s.kind = 'provider_key' then '3' when s.subject <> '*' then '1' else '2' end
        || ' ' || p.value as name, p.starts_at as starts,
      array[p.reserved_usd, p.spent_usd, p.unknown_usd]::text[] as counters, p.calls
    from llm_scope_periods p join llm_scopes s on s.id = p.scope_id
    where p.tenant_id = any(${[...tenantIds]}) and exists (select from llm_pins n where n.scope_period_id = p.id)`;
  return rows.flatMap(({ name, starts, counters, calls }) => [
    [`${name} ${starts.toISOString()}`, accountText(...exact(counters))] as const,
    [`${name} calls ${starts.toISOString()}`, `${calls} calls`] as const,
  ]);
}

const accountText = (reserved = '', spent = '', unknown = ''): string =>
  `reserved ${reserved}, spent ${spent}, unknown ${unknown}`;

const exact = (amounts: readonly string[]): string[] =>
  amounts.map((amount) => formatUsd(parseUsd(amount)));
