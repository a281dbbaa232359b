/**
 * Removes a tenant, by an operator. A tenant with work, credentials or money keeps its row; what it has else goes only
 * where the operator said so.
 */
import type { Sql, Tx } from '../../db/connect.ts';
import { codeOf, PurserError } from '../../errors.ts';
import { unknownName } from '../../names.ts';
import { recordAct } from '../audit.ts';
import type { Operator } from '../audit.ts';

/** Rows of a tenant, by what they are; only kinds of which there is one. Counted up to `countedRows`. */
export type TenantRows = Readonly<Record<string, number>>;

export interface TenantRemoval {
  readonly tenantId: string;
  readonly reason: string;
  /** Its ended jobs, uploads, costs and analyses go with it. */
  readonly withData: boolean;
}

const countedRows = 10_000;

const hasMoney = 'PU105';

/** What has to be ended or removed by its own command first, and by which one. */
const firstOf: Readonly<Record<string, string>> = {
  'open jobs':
    'pause its schedules (purser schedules pause TYPE --tenant ID), then cancel them: purser jobs cancel --tenant ID --reason TEXT',
  'cloud accounts': 'remove them: purser accounts remove',
  'own LLM keys': 'remove them: purser llm keys remove',
  integrations: 'delete them where your application stored them',
};

const countText = (count: number): string =>
  count >= countedRows ? `${countedRows} or more` : String(count);

const singular: Readonly<Record<string, string>> = {
  analyses: 'analysis',
  'rows of costs': 'row of costs',
};

/** `1 open job, 10000 or more rows of costs`. */
export const rowsText = (rows: TenantRows): string =>
  Object.entries(rows)
    .map(([kind, count]) =>
      count === 1 ? `1 ${singular[kind] ?? kind.replace(/s$/, '')}` : `${countText(count)} ${kind}`,
    )
    .join(', ');

/**
 * Returns what went with the tenant. Throws `unknown_tenant`, `tenant_has_rows` with what is in the way and what to do,
 * and `tenant_has_money` for a tenant with LLM calls on its books, which is always kept.
 */
export async function removeTenantAs(
  sql: Sql,
  operator: Operator,
  { tenantId, reason, withData }: TenantRemoval,
): Promise<TenantRows> {
  return sql.begin(async (tx) => {
    if (!(await lockTenant(tx, tenantId))) {
      throw new PurserError('unknown_tenant', unknownName('tenant', tenantId));
    }
    if (await hasCalls(tx, tenantId)) throw moneyKept(tenantId);
    const rows = await countRows(tx, tenantId);
    refuseRows(tenantId, rows, withData);
    await deleteTenant(tx, tenantId);
    await recordAct(tx, operator, {
      act: 'tenant_remove',
      tenantId,
      reason,
      target: { withData },
      before: rows,
    });
    return rows;
  });
}

function refuseRows(tenantId: string, rows: TenantRows, withData: boolean): void {
  const first = Object.keys(rows).filter((kind) => kind in firstOf);
  const isInTheWay = first.length > 0 || (!withData && Object.keys(rows).length > 0);
  if (!isInTheWay) return;
  const steps = first.map((kind) => `${kind}: ${firstOf[kind] ?? ''}`);
  const isData = Object.keys(rows).length > first.length;
  if (isData && !withData) {
    steps.push('the rest goes with the tenant, for good, with --with-data');
  }
  throw new PurserError(
    'tenant_has_rows',
    `tenant ${JSON.stringify(tenantId)} was not removed; it has ${rowsText(rows)}\n  ${steps.join('\n  ')}\n` +
      '  To keep it and stop its work: purser pause --tenant ID',
    { details: { rows } },
  );
}

/** The doors of new jobs lock the row too: none is added until the end of the transaction. */
async function lockTenant(tx: Tx, tenantId: string): Promise<boolean> {
  const locked = await tx`select from public.tenants where id = ${tenantId} for update`;
  return locked.length > 0;
}

/** Before anything else: an operator who first cancels its jobs would have done so for nothing. */
async function hasCalls(tx: Tx, tenantId: string): Promise<boolean> {
  const [found] = await tx<{ found: boolean }[]>`
    select exists (select from public.llm_reservations where tenant_id = ${tenantId})
      or exists (select from public.llm_refusals where tenant_id = ${tenantId}) as found`;
  return found?.found === true;
}

function moneyKept(tenantId: string, cause?: unknown): PurserError {
  return new PurserError(
    'tenant_has_money',
    `tenant ${JSON.stringify(tenantId)} was not removed: it has LLM calls on its books, which are kept. ` +
      'To stop its work: purser pause --tenant ID',
    { cause },
  );
}

async function countRows(tx: Tx, tenantId: string): Promise<TenantRows> {
  const rows = await tx<{ kind: string; count: number }[]>`
    select kind, count from (
      select 'open jobs' as kind, (select count(*)::int from (select from public.jobs
        where tenant_id = ${tenantId} and outcome is null limit ${countedRows}) r) as count
      union all select 'cloud accounts', (select count(*)::int from public.aws_accounts where tenant_id = ${tenantId})
      union all select 'own LLM keys', (select count(*)::int from public.llm_provider_keys where tenant_id = ${tenantId})
      union all select 'integrations', (select count(*)::int from public.api_integrations where tenant_id = ${tenantId})
      union all select 'ended jobs', (select count(*)::int from (select from public.jobs
        where tenant_id = ${tenantId} and outcome is not null limit ${countedRows}) r)
      union all select 'uploads', (select count(*)::int from (select from public.ingest_uploads
        where tenant_id = ${tenantId} limit ${countedRows}) r)
      union all select 'rows of costs', (select count(*)::int from (select from public.cost_records
        where tenant_id = ${tenantId} limit ${countedRows}) r)
      union all select 'analyses', (select count(*)::int from (select from public.analyses
        where tenant_id = ${tenantId} limit ${countedRows}) r)
    ) c where count > 0`;
  return Object.fromEntries(rows.map(({ kind, count }) => [kind, count]));
}

/** Its queue row, schedules, limits, scopes, pauses and budget go with it. */
async function deleteTenant(tx: Tx, tenantId: string): Promise<void> {
  try {
    await tx`delete from public.tenants where id = ${tenantId}`;
  } catch (error) {
    if (codeOf(error) !== hasMoney) throw error;
    throw moneyKept(tenantId, error);
  }
}
