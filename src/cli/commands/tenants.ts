/** `purser tenants add|list|set-plan|set-limits`. */
import { codeOf, exitCodes, PurserError, UsageError } from '../../errors.ts';
import { nameFault, unknownName } from '../../names.ts';
import type { Queryable } from '../../db/connect.ts';
import type { Command, Invocation } from '../terminal/command.ts';
import { jsonOption } from '../terminal/command.ts';
import { idPositional, tenantLimitsCommand } from './tenant-limits.ts';
import { formatTable } from '../terminal/table.ts';
import { listTenantSchedules } from '../../schedules/settings.ts';
import { tenantSchedulesTable } from './schedules/list.ts';
import { insertTenant, refuseSimilar } from '../runtime/add-tenant.ts';
import { withDatabase } from '../runtime/with-database.ts';

const foreignKeyViolation = '23503';

async function planError(sql: Queryable, plan: string, error: unknown): Promise<unknown> {
  if (codeOf(error) !== foreignKeyViolation) return error;
  const plans = await sql<
    { plan: string }[]
  >`select plan from public.plans order by monthly_limit_usd`;
  return new UsageError(
    `${unknownName('plan', plan)}; use ${plans.map((row) => row.plan).join(', ')}`,
  );
}

async function add(invocation: Invocation): Promise<number> {
  const id = invocation.positionals[0] ?? '';
  const fault = nameFault('tenant', id);
  if (fault !== undefined) throw new UsageError(fault);
  const plan = invocation.value('plan') ?? 'free';
  return withDatabase(invocation.config(), async ({ database }) => {
    const sql = database.system;
    const added = await refuseSimilar(sql, id, () => insertTenant(sql, { id, plan })).catch(
      async (error: unknown) => {
        throw await planError(sql, plan, error);
      },
    );
    if (!added) {
      throw new PurserError('tenant_exists', `tenant ${JSON.stringify(id)} already exists`);
    }
    const schedules = await listTenantSchedules(sql, id);
    invocation.print(`tenant ${id} added with plan ${plan}, and these schedules:`);
    invocation.print(tenantSchedulesTable(schedules));
    return exitCodes.ok;
  });
}

async function setPlan(invocation: Invocation): Promise<number> {
  const [id = '', plan = ''] = invocation.positionals;
  return withDatabase(invocation.config(), async ({ database }) => {
    const sql = database.system;
    const changed = await sql`
      update public.tenants set plan = ${plan} where id = ${id} returning id`.catch(
      async (error: unknown) => {
        throw await planError(sql, plan, error);
      },
    );
    if (changed.length === 0) {
      throw new PurserError('unknown_tenant', unknownName('tenant', id));
    }
    invocation.print(`tenant ${id} now has plan ${plan}`);
    return exitCodes.ok;
  });
}

interface EffectiveLimits {
  weight: number;
  max_backlog_jobs: string | null;
  max_backlog_bytes: string | null;
}

interface TenantRow extends EffectiveLimits {
  id: string;
  plan: string;
  cohort: string;
  last_active_at: Date;
  next_due: Date | null;
}

async function list(invocation: Invocation): Promise<number> {
  return withDatabase(invocation.config(), async ({ database }) => {
    const rows = await database.system<TenantRow[]>`
      select t.id, t.plan, purser.cohort_of(t.plan, t.last_active_at, now()) as cohort, t.last_active_at,
             coalesce(t.weight, p.weight) as weight,
             coalesce(t.max_backlog_jobs, p.max_backlog_jobs)::text as max_backlog_jobs,
             coalesce(t.max_backlog_bytes, p.max_backlog_bytes)::text as max_backlog_bytes,
             (select min(s.next_due) from public.tenant_schedules s
              where s.tenant_id = t.id and s.enabled) as next_due
      from public.tenants t join public.plans p on p.plan = t.plan order by t.id`;
    if (invocation.flag('json')) invocation.print(JSON.stringify(rows));
    else {
      invocation.print(
        formatTable(
          [
            'tenant',
            'plan',
            'cohort',
            'last active',
            'next run',
            'weight',
            'max jobs',
            'max bytes',
          ],
          rows.map((row) => [
            row.id,
            row.plan,
            row.cohort,
            row.last_active_at,
            row.next_due,
            row.weight,
            row.max_backlog_jobs,
            row.max_backlog_bytes,
          ]),
        ),
      );
    }
    return exitCodes.ok;
  });
}

export const tenantCommands: readonly Command[] = [
  {
    path: 'tenants add',
    summary: 'add a tenant, with its queue row and schedules',
    positionals: [idPositional],
    options: {
      plan: { value: 'PLAN', help: 'free (default), starter, growth, pro or enterprise' },
    },
    run: add,
  },
  {
    path: 'tenants list',
    summary:
      'list tenants with plan, cohort, next scheduled run, weight and limits of their backlog',
    options: { json: jsonOption },
    run: list,
  },
  {
    path: 'tenants set-plan',
    summary: "change a tenant's plan",
    positionals: [idPositional, { name: 'PLAN', help: 'the new plan', required: true }],
    run: setPlan,
  },
  tenantLimitsCommand,
];
