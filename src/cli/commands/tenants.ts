/** `purser tenants add|list|set-plan|set-limits`. */
import { codeOf, exitCodes, PurserError, UsageError } from '../../errors.ts';
import { nameFault, unknownName } from '../../names.ts';
import type { Queryable } from '../../db/connect.ts';
import type { Command, Invocation } from '../terminal/command.ts';
import { jsonOption } from '../terminal/command.ts';
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

/** Changes only what is given; null: the plan's. */
interface Limits {
  readonly weight?: number | null;
  readonly maxJobs?: number | null;
  readonly maxBytes?: number | null;
}

function limitsOf(invocation: Invocation): Limits {
  const weight = numberOption(invocation, 'weight', 1, 100, false);
  const planWeight = invocation.flag('plan-weight');
  if (planWeight && weight !== undefined) {
    throw new UsageError('--weight and --plan-weight exclude each other; give one of them');
  }
  const maxJobs = numberOption(invocation, 'max-backlog-jobs', 0, 2_147_483_647, true);
  const maxBytes = numberOption(invocation, 'max-backlog-bytes', 0, Number.MAX_SAFE_INTEGER, true);
  if (!planWeight && [weight, maxJobs, maxBytes].every((value) => value === undefined)) {
    throw new UsageError(
      'nothing to set: give --weight N, --plan-weight, --max-backlog-jobs N|none or --max-backlog-bytes N|none',
    );
  }
  return {
    ...(planWeight ? { weight: null } : weight === undefined ? {} : { weight }),
    ...(maxJobs === undefined ? {} : { maxJobs }),
    ...(maxBytes === undefined ? {} : { maxBytes }),
  };
}

/** undefined where it is not given, null for `none`. */
function numberOption(
  invocation: Invocation,
  name: string,
  min: number,
  max: number,
  takesNone: boolean,
): number | null | undefined {
  const text = invocation.value(name);
  if (text === undefined) return undefined;
  if (takesNone && text === 'none') return null;
  const parsed = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (parsed >= min && parsed <= max) return parsed;
  const none = takesNone ? ', or none,' : '';
  throw new UsageError(
    `--${name} must be a whole number from ${min} to ${max}${none} not ${JSON.stringify(text)}`,
  );
}

async function setLimits(invocation: Invocation): Promise<number> {
  const id = invocation.positionals[0] ?? '';
  const { weight, maxJobs, maxBytes } = limitsOf(invocation);
  return withDatabase(invocation.config(), async ({ database }) => {
    const [row] = await database.system<EffectiveLimits[]>`
      update public.tenants t
      set weight = case when ${weight === undefined} then t.weight else ${weight ?? null}::integer end,
          max_backlog_jobs = case when ${maxJobs === undefined} then t.max_backlog_jobs
            else ${maxJobs ?? null}::integer end,
          max_backlog_bytes = case when ${maxBytes === undefined} then t.max_backlog_bytes
            else ${maxBytes ?? null}::bigint end
      where t.id = ${id}
      -- Not by a join: it would miss a tenant whose plan another command changes meanwhile.
      returning coalesce(t.weight, (select p.weight from public.plans p where p.plan = t.plan)) as weight,
        coalesce(t.max_backlog_jobs,
          (select p.max_backlog_jobs from public.plans p where p.plan = t.plan))::text as max_backlog_jobs,
        coalesce(t.max_backlog_bytes,
          (select p.max_backlog_bytes from public.plans p where p.plan = t.plan))::text as max_backlog_bytes`;
    if (row === undefined) throw new PurserError('unknown_tenant', unknownName('tenant', id));
    invocation.print(
      `tenant ${id} now has weight ${row.weight}, ${limitText(row.max_backlog_jobs, 'jobs')} and ` +
        `${limitText(row.max_backlog_bytes, 'bytes')} of backlog`,
    );
    return exitCodes.ok;
  });
}

const limitText = (limit: string | null, unit: string): string =>
  limit === null ? `no limit of ${unit}` : `at most ${limit} ${unit}`;

/** The tenant's, else the plan's; a limit of null is none. */
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

const idPositional = { name: 'ID', help: "the tenant's id", required: true };

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
  {
    path: 'tenants set-limits',
    summary: "change a tenant's weight, and how many jobs it may have enqueued and not begun",
    positionals: [idPositional],
    options: {
      weight: { value: 'N', help: '1 to 100: jobs per turn while other tenants wait' },
      'plan-weight': { help: "the plan's weight again" },
      'max-backlog-jobs': { value: 'N', help: "most jobs; none: the plan's limit, if it has one" },
      'max-backlog-bytes': {
        value: 'N',
        help: "most bytes of their payloads; none: the plan's limit, if it has one",
      },
    },
    run: setLimits,
  },
];
