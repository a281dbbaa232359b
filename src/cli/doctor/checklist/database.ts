/** Items measured on the database: tables, columns, indexes, and the refusal without a tenant context. */
import type { Queryable } from '../../../db/connect.ts';
import { codeOf } from '../../../errors.ts';
import type { ItemDefinition, Measurement } from './item.ts';

type Query = (sql: Queryable) => Promise<Measurement>;

const measured =
  (query: Query): ItemDefinition['measure'] =>
  ({ sql }) =>
    sql === undefined ? { seen: 'DATABASE_URL is not set', met: false } : query(sql);

const hasColumns =
  (table: string, expected: readonly string[]): Query =>
  async (sql) => {
    const rows = await sql<{ name: string }[]>`
      select attname as name from pg_attribute
      where attrelid = to_regclass(${table}) and attnum > 0 and not attisdropped`;
    const found = new Set(rows.map(({ name }) => name));
    if (found.size === 0) return { seen: 'the table does not exist', met: false };
    const missing = expected.filter((name) => !found.has(name));
    return missing.length === 0
      ? { seen: `has ${expected.join(', ')}`, met: true }
      : { seen: `lacks ${missing.join(', ')}`, met: false };
  };

const hasIndexes =
  (expected: readonly string[]): Query =>
  async (sql) => {
    const rows = await sql<{ name: string }[]>`
      select indexname as name from pg_indexes where indexname = any(${[...expected]}::text[])`;
    const found = rows.map(({ name }) => name).toSorted();
    return { seen: found.join(', ') || 'none', met: found.length === expected.length };
  };

/** Writes to a tenant table under the role of handlers, without a tenant context: this has to raise. */
const refusesWithoutContext: Query = async (sql) => {
  const [migrated] = await sql<{ yes: boolean }[]>`
    select to_regproc('purser.tenancy_mode') is not null as yes`;
  if (migrated?.yes !== true) return { seen: 'not migrated', met: false };
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

const inSchema = (
  item: string,
  command: string,
  expected: string,
  query: Query,
): ItemDefinition => ({
  section: 'database schema',
  item,
  command,
  expected,
  measure: measured(query),
});

export const databaseItems: readonly ItemDefinition[] = [
  inSchema(
    'llm_budgets',
    'psql -c "\\d+ llm_budgets"',
    'id, tenant_id, monthly_limit_usd, hard_limit, created_at, updated_at',
    hasColumns('public.llm_budgets', [
      'id',
      'tenant_id',
      'monthly_limit_usd',
      'hard_limit',
      'created_at',
      'updated_at',
    ]),
  ),
  inSchema(
    'usage of the month',
    'purser budget show',
    'current_month_usage_usd in llm_budget_status, without a monthly reset job',
    hasColumns('public.llm_budget_status', [
      'tenant_id',
      'monthly_limit_usd',
      'current_month_usage_usd',
    ]),
  ),
  inSchema(
    'llm_reservations',
    'psql -c "\\d+ llm_reservations"',
    'id, budget_id, tenant_id, estimated_cost_usd, status, created_at, expires_at',
    hasColumns('public.llm_reservations', [
      'id',
      'budget_id',
      'tenant_id',
      'estimated_cost_usd',
      'status',
      'created_at',
      'expires_at',
    ]),
  ),
  inSchema(
    'llm_usage',
    'psql -c "\\d+ llm_usage"',
    'the table exists',
    hasColumns('public.llm_usage', ['reservation_id']),
  ),
  inSchema(
    'encryption_key_version',
    'psql -c "\\d+ aws_accounts"',
    'the column exists',
    hasColumns('public.aws_accounts', ['encryption_key_version']),
  ),
  inSchema(
    'indexes',
    'psql -c "\\di" | grep llm_',
    'ix_llm_budgets_tenant_id, ix_llm_reservations_budget_id, ix_llm_reservations_expires_at',
    hasIndexes([
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
    measure: measured(refusesWithoutContext),
  },
];
