/** A month of LLM calls of the tenants and jobs of `fillJobs`, with what the sweep adds up of them, schedules and acts. */
import type { Sql } from '../../src/db/connect.ts';

/** The newest calls are read from the ledger: the sums are some seconds behind. */
const notAddedUp = 500;

interface Filled {
  readonly jobs: number;
  readonly calls: number;
}

/** One call in ten thousand is of unknown cost. Ids of reservations are in order, so that the indexes grow quickly. */
export async function fillMoney(sql: Sql, { jobs, calls }: Filled): Promise<void> {
  await sql`
    insert into llm_budgets (tenant_id, monthly_limit_usd, limit_source) select t.id, 1000, 'operator' from tenants t
    on conflict do nothing`;
  await sql`
    insert into llm_budget_periods (budget_id, period_start, tenant_id)
    select b.id, date_trunc('month', now() at time zone 'UTC')::date, b.tenant_id from llm_budgets b`;
  const tenants = sql`(select count(*) from tenants)`;
  await sql`
    insert into llm_reservations (id, budget_id, period_start, tenant_id, job_id, attempt, job_type, estimated_cost_usd,
      status, created_at, sent_at, expires_at, closed_at, idempotency_key, provider, model, price)
    select ('00000000-0000-4000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, b.id, m.start, b.tenant_id, 1 + n % ${jobs}::int, 1,
      'type_' || (n / 1009 % 3 + hashtext(b.tenant_id) & 15), 0.002, case when n % 10000 = 0 then 'UNKNOWN' else 'APPLIED' end,
      at, at, at + interval '1 minute', at + interval '2 seconds', 'call-' || n, 'openai',
      'model-' || (n / 1013 % 2 + hashtext(b.tenant_id) & 3), '{"source": "bench", "model": "m", "rates": {}}'
    from generate_series(1, ${calls}::int) n
    cross join (select date_trunc('month', now() at time zone 'UTC')::date as start) m
    cross join lateral (select m.start at time zone 'UTC'
      + (now() - m.start at time zone 'UTC') * (n::float8 / ${calls}::int) as at) a
    join llm_budgets b on b.tenant_id = 'tenant-' || (1 + n % ${tenants})`;
  await sql`
    insert into llm_usage (reservation_id, tenant_id, input_tokens, output_tokens, cost_usd, overage_usd, at)
    select r.id, r.tenant_id, 1000, 100, 0.0005, 0, r.closed_at from llm_reservations r where r.status = 'APPLIED' order by r.id`;
  await sql`
    insert into llm_ledger (at, tenant_id, budget_id, period_start, reservation_id, event, reserved_delta_usd,
      spent_delta_usd, unknown_delta_usd, available_delta_usd)
    select case e.name when 'reserve' then r.created_at else r.closed_at end, r.tenant_id, r.budget_id, r.period_start, r.id,
      case when e.name = 'end' and r.status = 'APPLIED' then 'settle' when e.name = 'end' then 'unknown' else e.name end,
      case e.name when 'reserve' then 0.002 else -0.002 end,
      case when e.name = 'end' and r.status = 'APPLIED' then 0.0005 else 0 end,
      case when e.name = 'end' and r.status = 'UNKNOWN' then 0.002 else 0 end,
      case when e.name = 'reserve' then -0.002 when r.status = 'APPLIED' then 0.0015 else 0 end
    from llm_reservations r cross join (values ('reserve', 1), ('end', 2)) e (name, place) order by r.id, e.place`;
  await sql`
    update llm_budget_periods p set spent_usd = r.spent, unknown_usd = r.unknown
    from (select budget_id, 0.0005 * count(*) filter (where status = 'APPLIED') as spent,
      0.002 * count(*) filter (where status = 'UNKNOWN') as unknown from llm_reservations group by 1) r
    where r.budget_id = p.budget_id`;
  await addUp(sql, calls - notAddedUp);
}

/** As purser.add_up_spend does, which reads call by call. */
async function addUp(sql: Sql, calls: number): Promise<void> {
  await sql`
    insert into llm_spend_days select r.period_start, r.tenant_id, (r.created_at at time zone 'UTC')::date, r.job_type, r.provider,
      r.model, r.provider_key, false, 0.0005 * count(*) filter (where r.status = 'APPLIED'), 0,
      0.002 * count(*) filter (where r.status = 'UNKNOWN'), count(*), count(*) filter (where r.status = 'APPLIED'),
      0.002 * count(*) filter (where r.status = 'APPLIED')
    from llm_reservations r where r.id <= ('00000000-0000-4000-8000-' || lpad(to_hex(${calls}::int), 12, '0'))::uuid
    group by 1, 2, 3, 4, 5, 6, 7`;
  const sums = sql`false, sum(d.spent_usd), sum(d.held_usd), sum(d.unknown_usd), sum(d.calls), sum(d.settled_calls),
    sum(d.settled_hold_usd) from llm_spend_days d`;
  await sql`
    insert into llm_spend_months
    select d.period_start, d.tenant_id, d.job_type, d.provider, d.model, d.provider_key, ${sums} group by 1, 2, 3, 4, 5, 6`;
  await sql`
    insert into purser.llm_spend_totals
    select d.period_start, d.day, d.job_type, d.provider, d.model, d.provider_key, ${sums} group by 1, 2, 3, 4, 5, 6`;
  await sql`
    update purser.llm_spend_position set (ledger_id, next_id) = (select max(l.id), max(l.id) from llm_ledger l
      where l.reservation_id = ('00000000-0000-4000-8000-' || lpad(to_hex(${calls}::int), 12, '0'))::uuid)`;
}

/** Two schedules of all tenants, workers, pauses, and 100,000 acts. */
export async function fillOperations(sql: Sql): Promise<void> {
  await sql`
    insert into schedules (job_type, cohort, cron) select t, c, '0 3 * * *'
    from unnest(array['type_1', 'type_2']) t, unnest(array['high_value', 'active', 'dormant']) c`;
  await sql`
    insert into heartbeats (process_id, role, hostname, version, pid, slots, running, job_types, beat_at)
    select 'worker-' || n, 'worker', 'worker.' || n, 'bench', n, 50, 0, '{type_1,type_2}', now() from generate_series(1, 50) n`;
  await sql`
    insert into pauses (scope, name, reason, by) select 'tenant', 'tenant-' || n, 'bench', 'bench' from generate_series(1, 50) n`;
  await sql`
    insert into operator_acts (operator, proof, door, act, tenant_id, reason, target)
    select 'operator ' || n % 5, 'session', 'console', 'cancel', 'tenant-' || (1 + n % 1000), 'bench', '{}'
    from generate_series(1, 100000) n`;
}
