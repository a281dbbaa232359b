/**
 * The items of the go-live checklist that the database itself shows.
 */
import type { Queryable } from '../../db/connect.ts';
import { codeOf } from '../../errors.ts';

export interface ChecklistItem {
  readonly section: string;
  readonly item: string;
  readonly command: string;
  readonly expected: string;
  readonly seen: string;
  /** undefined: this command cannot see it; run the item's command. */
  readonly met: boolean | undefined;
}

type Look = (sql: Queryable) => Promise<Pick<ChecklistItem, 'seen' | 'met'>>;

const columnsOf =
  (table: string, expected: readonly string[]): Look =>
  async (sql) => {
    const rows = await sql<{ name: string }[]>`
      select attname as name from pg_attribute
      where attrelid = to_regclass(${table}) and attnum > 0 and not attisdropped`;
    const found = new Set(rows.map(({ name }) => name));
    if (found.size === 0) return { seen: 'there is no such table', met: false };
    const missing = expected.filter((name) => !found.has(name));
    return missing.length === 0
      ? { seen: `has ${expected.join(', ')}`, met: true }
      : { seen: `lacks ${missing.join(', ')}`, met: false };
  };

const indexes =
  (expected: readonly string[]): Look =>
  async (sql) => {
    const rows = await sql<{ name: string }[]>`
      select indexname as name from pg_indexes where indexname = any(${[...expected]}::text[])`;
    const found = rows.map(({ name }) => name).toSorted();
    return { seen: found.join(', ') || 'none', met: found.length === expected.length };
  };

/** A read without a tenant context, as the role of handlers, has to raise. */
const refusedWithoutContext: Look = async (sql) => {
  const [known] = await sql<{ known: boolean }[]>`
    select to_regproc('purser.tenancy_mode') is not null as known`;
  if (known?.known !== true) return { seen: 'not migrated', met: false };
  const [mode] = await sql<{ uses_roles: boolean }[]>`select uses_roles from purser.tenancy_mode()`;
  const refusal = await sql
    .unsafe(
      mode?.uses_roles === true
        ? 'begin; set local role purser_tenant; insert into public.aws_accounts select * from public.aws_accounts where false; commit'
        : "begin; set local purser.system = 'off'; insert into public.aws_accounts select * from public.aws_accounts where false; commit",
    )
    .then(() => undefined)
    .catch((error: unknown) => codeOf(error));
  await sql.unsafe('rollback');
  return refusal === 'PU001'
    ? { seen: 'raised rls_enforcement_failed', met: true }
    : { seen: refusal === undefined ? 'nothing was raised' : `raised ${refusal}`, met: false };
};

interface Planned {
  readonly section: string;
  readonly item: string;
  readonly command: string;
  readonly expected: string;
  readonly look: Look;
}

const database = 'database schema';
const inDatabase = (item: string, command: string, expected: string, look: Look): Planned => ({
  section: database,
  item,
  command,
  expected,
  look,
});

export const databaseItems: readonly Planned[] = [
  inDatabase(
    'llm_budgets',
    'psql -c "\\d+ llm_budgets"',
    'id, tenant_id, monthly_limit_usd, hard_limit, created_at, updated_at',
    columnsOf('public.llm_budgets', [
      'id',
      'tenant_id',
      'monthly_limit_usd',
      'hard_limit',
      'created_at',
      'updated_at',
    ]),
  ),
  inDatabase(
    'usage of the month',
    'purser budget show',
    'current_month_usage_usd in llm_budget_status, without a reset job',
    columnsOf('public.llm_budget_status', [
      'tenant_id',
      'monthly_limit_usd',
      'current_month_usage_usd',
    ]),
  ),
  inDatabase(
    'llm_reservations',
    'psql -c "\\d+ llm_reservations"',
    'id, budget_id, tenant_id, estimated_cost_usd, status, created_at, expires_at',
    columnsOf('public.llm_reservations', [
      'id',
      'budget_id',
      'tenant_id',
      'estimated_cost_usd',
      'status',
      'created_at',
      'expires_at',
    ]),
  ),
  inDatabase(
    'llm_usage',
    'psql -c "\\d+ llm_usage"',
    'the table exists',
    columnsOf('public.llm_usage', ['reservation_id']),
  ),
  inDatabase(
    'encryption_key_version',
    'psql -c "\\d+ aws_accounts"',
    'the column exists',
    columnsOf('public.aws_accounts', ['encryption_key_version']),
  ),
  inDatabase(
    'indexes',
    'psql -c "\\di" | grep llm_',
    'ix_llm_budgets_tenant_id, ix_llm_reservations_budget_id, ix_llm_reservations_expires_at',
    indexes([
      'ix_llm_budgets_tenant_id',
      'ix_llm_reservations_budget_id',
      'ix_llm_reservations_expires_at',
    ]),
  ),
  {
    section: 'security',
    item: 'RLS is enforced by exception',
    command: 'npx vitest run test/tenancy/rls-enforcement.test.ts',
    expected: 'rls_enforcement_failed without a tenant context',
    look: refusedWithoutContext,
  },
];
