/** One moment at which a schedule of every tenant becomes due, and what came of it. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Sql } from '../../src/db/connect.ts';
import type { StatementTotals, Statements } from './statements.ts';
import { tenantCount } from './fleet.ts';
import type { LoadFleet } from './fleet.ts';

export interface Phase {
  readonly name: string;
  readonly jobType: 'finops_analysis' | 'load_parallel';
  /** Each tenant has an expression of its own; otherwise all have that of their cohort. */
  readonly ownSchedules?: boolean;
  /** What the provider takes for an answer. */
  readonly llmMs: number;
  /** Holds that the budget of each tenant has room for; default: more than it needs. */
  readonly budgetForHolds?: number;
}

/** Of a job of load_parallel (handlers.mjs). */
export const parallelCalls = 4;

/** Ticks of the cohort would come in between. */
const lastMinutes = 58;
const dueInSeconds = 2;
/** Heartbeats carry the metrics of a worker; each has beaten again after this time. */
const heartbeatMs = 4_500;
const settleMs = 3_000;

export interface Checks {
  /** Time of all budget checks in the workers, as their jobs saw it. */
  readonly ms: number;
  readonly count: number;
}

export interface Outcome {
  readonly phase: Phase;
  readonly dueAt: Date;
  /** Jobs of the phase have higher ids. */
  readonly afterId: string;
  readonly deadlocks: number;
  readonly checks: Checks;
  readonly statements: readonly StatementTotals[];
}

async function deadlocksOf(sql: Sql): Promise<number> {
  await sql`select pg_stat_force_next_flush()`;
  const [row] = await sql<{ deadlocks: number }[]>`
    select deadlocks::int from pg_stat_database where datname = current_database()`;
  return row?.deadlocks ?? Number.NaN;
}

async function checksOf(sql: Sql): Promise<Checks> {
  const [row] = await sql<Checks[]>`
    select coalesce(1000 * sum((v->>'value')::float8) filter (where v->>'metricName' like '%_sum'), 0) as ms,
      coalesce(sum((v->>'value')::float8) filter (where v->>'metricName' like '%_count'), 0) as count
    from heartbeats h
    cross join lateral jsonb_array_elements(h.metrics) m
    cross join lateral jsonb_array_elements(m->'values') v
    where h.role = 'worker' and m->>'name' = 'llm_budget_check_duration_seconds'`;
  return row ?? { ms: Number.NaN, count: Number.NaN };
}

/** Every tenant of the phase is due at the returned moment. */
async function makeDue(sql: Sql, { jobType, ownSchedules = false }: Phase): Promise<Date> {
  return sql.begin(async (tx) => {
    await tx`
      insert into schedules (job_type, cohort, cron) values (${jobType}, 'high_value', '0 * * * *')
      on conflict do nothing`;
    await tx`delete from purser.ticks where job_type = ${jobType}`;
    // At an hour that is half a day away.
    await tx`
      update tenant_schedules s set enabled = true, cron = case when ${ownSchedules} then
        format('%s %s * * *', t.n % 60, (extract(hour from now() at time zone 'UTC')::int + 12 + t.n / 60) % 24) end
      from (select id, row_number() over (order by id) as n from tenants) t
      where t.id = s.tenant_id and s.job_type = ${jobType}`;
    const [row] = await tx<{ dueAt: Date }[]>`
      update tenant_schedules
      set last_bucket = null, next_bucket = null, next_cron = null, next_zone = null, resumed_at = null,
        next_due = now() + ${dueInSeconds} * interval '1 second'
      where job_type = ${jobType} returning next_due as "dueAt"`;
    if (row === undefined) throw new Error(`no tenant has a schedule of ${jobType}`);
    return row.dueAt;
  });
}

/** Room for so many holds beside what is used already. */
async function limitBudgets(sql: Sql, holds: number): Promise<void> {
  await sql`
    update llm_budgets b
    set limit_source = 'operator', monthly_limit_usd = p.spent_usd + p.unknown_usd + round(${holds} * (
      select max(r.estimated_cost_usd) from llm_reservations r join jobs j on j.id = r.job_id
      where j.job_type = 'load_parallel'), 9)
    from llm_budget_periods p where p.budget_id = b.id`;
}

async function awayFromTheHour(sql: Sql): Promise<void> {
  for (;;) {
    const [row] = await sql<{ minute: number }[]>`select extract(minute from now())::int as minute`;
    if ((row?.minute ?? 0) < lastMinutes) return;
    await sleep(1_000);
  }
}

export async function runPhase(
  { sql, provider }: LoadFleet,
  statements: Statements,
  phase: Phase,
): Promise<Outcome> {
  const { jobType, llmMs } = phase;
  const requests = tenantCount * (jobType === 'load_parallel' ? parallelCalls : 1);
  provider.script(
    ...Array.from({ length: requests }, () => ({ kind: 'answer' as const, delayMs: llmMs })),
  );
  if (phase.budgetForHolds !== undefined) await limitBudgets(sql, phase.budgetForHolds);
  await sleep(heartbeatMs);
  await awayFromTheHour(sql);
  const checksBefore = await checksOf(sql);
  const deadlocksBefore = await deadlocksOf(sql);
  const [last] = await sql<{ id: string }[]>`select coalesce(max(id), 0)::text as id from jobs`;
  const afterId = last?.id ?? '0';
  await statements.reset();
  const dueAt = await makeDue(sql, phase);
  for (;;) {
    const [row] = await sql<{ ended: number }[]>`
      select count(distinct tenant_id)::int as ended from jobs
      where job_type = ${jobType} and id > ${afterId}::bigint and outcome is not null`;
    if (row?.ended === tenantCount) break;
    await sleep(250);
  }
  const ran = await statements.read();
  await sleep(settleMs);
  await sql`update tenant_schedules set enabled = false where job_type = ${jobType}`;
  await sleep(heartbeatMs - settleMs);
  const checks = await checksOf(sql);
  return {
    phase,
    dueAt,
    afterId,
    deadlocks: (await deadlocksOf(sql)) - deadlocksBefore,
    checks: { ms: checks.ms - checksBefore.ms, count: checks.count - checksBefore.count },
    statements: ran,
  };
}
