/** `purser tenants add|list|set-plan|set-limits|remove`. */
import { exitCodes, PurserError, UsageError } from '../../errors.ts';
import { nameFault } from '../../names.ts';
import { addTenantAs } from '../../operations/tenants/add.ts';
import { setPlanAs } from '../../operations/tenants/plans.ts';
import type { Command, Invocation } from '../terminal/command.ts';
import { actOf, actOptions } from '../terminal/operator-options.ts';
import { listLimit, listOptions, printList, sinceOf, sinceOption } from '../terminal/cut-list.ts';
import { idPositional, tenantLimitsCommand } from './tenant-limits.ts';
import { listTenantSchedules } from '../../schedules/settings.ts';
import { tenantSchedulesTable } from './schedules/list.ts';
import { removeCommand } from './tenants/remove.ts';
import { withDatabase } from '../runtime/with-database.ts';

async function add(invocation: Invocation): Promise<number> {
  const id = invocation.positionals[0] ?? '';
  const fault = nameFault('tenant', id);
  if (fault !== undefined) throw new UsageError(fault);
  const plan = invocation.value('plan') ?? 'free';
  const { operator, reason } = actOf(invocation);
  return withDatabase(invocation.config(), async ({ database }) => {
    const sql = database.system;
    if (!(await addTenantAs(sql, operator, { id, plan, reason }))) {
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
  const { operator, reason } = actOf(invocation);
  return withDatabase(invocation.config(), async ({ database }) => {
    await setPlanAs(database.system, operator, { tenantId: id, plan, reason });
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
  /** Of all tenants that match. */
  total: number;
  id: string;
  plan: string;
  cohort: string;
  last_active_at: Date;
  next_due: Date | null;
}

async function list(invocation: Invocation): Promise<number> {
  const limit = listLimit(invocation) ?? null;
  const since = sinceOf(invocation) ?? null;
  return withDatabase(invocation.config(), async ({ database }) => {
    const rows = await database.system<TenantRow[]>`
      select count(*) over ()::int as total, t.id, t.plan, purser.cohort_of(t.plan, t.last_active_at, now()) as cohort, t.last_active_at,
             coalesce(t.weight, p.weight) as weight,
             coalesce(t.max_backlog_jobs, p.max_backlog_jobs)::text as max_backlog_jobs,
             coalesce(t.max_backlog_bytes, p.max_backlog_bytes)::text as max_backlog_bytes,
             (select min(s.next_due) from public.tenant_schedules s
              where s.tenant_id = t.id and s.enabled) as next_due
      from public.tenants t join public.plans p on p.plan = t.plan
      where ${since}::timestamptz is null or t.last_active_at >= ${since}
      order by t.id limit ${limit}`;
    printList(
      invocation,
      rows.map(({ total: _total, ...row }) => row),
      {
        what: 'tenants',
        head: [
          'tenant',
          'plan',
          'cohort',
          'last active',
          'next run',
          'weight',
          'max jobs',
          'max bytes',
        ],
        cells: (row) => [
          row.id,
          row.plan,
          row.cohort,
          row.last_active_at,
          row.next_due,
          row.weight,
          row.max_backlog_jobs,
          row.max_backlog_bytes,
        ],
      },
      rows[0]?.total ?? 0,
    );
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
      ...actOptions,
    },
    run: add,
  },
  {
    path: 'tenants list',
    summary:
      'list tenants with plan, cohort, next scheduled run, weight and limits of their backlog',
    options: {
      since: {
        ...sinceOption,
        help: `only tenants active ${sinceOption.help.replace('only ', '')}`,
      },
      ...listOptions,
    },
    run: list,
  },
  {
    path: 'tenants set-plan',
    summary: "change a tenant's plan",
    positionals: [idPositional, { name: 'PLAN', help: 'the new plan', required: true }],
    options: actOptions,
    run: setPlan,
  },
  tenantLimitsCommand,
  removeCommand,
];
