/** What the screenshots show beside the demo's data: LLM calls of several models, a pause, and the day before. */
import type { Sql } from '../../src/db/connect.ts';
import { enqueue } from '../../src/jobs/enqueue.ts';
import type { Operator } from '../../src/operations/audit.ts';
import { pauseAs } from '../../src/operations/pauses.ts';
import { attemptOf, callOf } from '../../test/budget/report/calls.ts';
import { finish } from '../../test/jobs/job-steps.ts';

const kim: Operator = { name: 'kim', proof: 'asserted', door: 'cli', host: 'desk' };

const models = [
  ['openai', 'gpt-5-mini', '0.0123', '0.04'],
  ['anthropic', 'claude-sonnet-4-5', '0.2817', '0.5'],
  ['google', 'gemini-2.5-flash', '0.0046', '0.02'],
] as const;

/** Calls of three tenants with room in their budgets; two of them are of unknown cost. Needs that no scheduler runs. */
export async function addCalls(sql: Sql): Promise<void> {
  const tenants = await sql<{ id: string }[]>`
    select tenant_id as id from llm_budget_status where monthly_limit_usd >= 50 order by tenant_id limit 3`;
  for (const [place, { id }] of tenants.entries()) {
    for (const jobType of ['answer_ticket', 'write_digest']) {
      const attempt = await attemptOf(sql, id, jobType);
      for (const [index, [provider, model, cost, hold]] of models.entries()) {
        for (let n = 0; n <= place + index; n += 1) {
          await callOf(sql, attempt, { provider, model, cost, hold });
        }
      }
      if (place === 0)
        await callOf(sql, attempt, { provider: 'openai', model: 'gpt-5', hold: '0.35' });
      await finish(sql, attempt);
    }
  }
}

/** Jobs that end as dead letters of four kinds, some that end well, some for later, and a type that is paused. */
export async function addWork(sql: Sql): Promise<number> {
  const tenants = await sql<{ id: string }[]>`select id from tenants order by id`;
  const kinds = [160, 90, 40, 12];
  let invoice = 4_000;
  for (const [fault, jobs] of kinds.entries()) {
    for (let n = 0; n < jobs; n += 1) {
      invoice += 1;
      // The rarer the kind, the fewer of the tenants have it.
      const tenant = tenants[n % Math.max(1, tenants.length - 3 * fault)];
      const payload = { invoice, fault, currency: n % 2 === 0 ? 'EUR' : 'USD' };
      await enqueue(sql, { tenantId: tenant?.id ?? '', jobType: 'send_invoice', payload });
    }
  }
  await pauseAs(sql, kim, {
    scope: 'job_type',
    name: 'sync_ledger',
    reason: 'the ledger is being moved',
  });
  for (const { id } of tenants) {
    for (let n = 0; n < 60; n += 1) {
      await enqueue(sql, { tenantId: id, jobType: 'send_invoice', payload: { invoice: n } });
    }
    await enqueue(sql, { tenantId: id, jobType: 'sync_ledger' });
    const runAt = new Date(Date.now() + 3 * 3_600_000);
    await enqueue(sql, { tenantId: id, jobType: 'write_digest', runAt });
  }
  return kinds.reduce((sum, jobs) => sum + jobs, 0);
}

/** What a sweep would have sampled in the 23 hours before: more by day than by night, and an hour of failures. */
export async function addDayBefore(sql: Sql): Promise<void> {
  await sql`
    insert into purser.job_ends
    select purser.slot_of(now() - n * interval '5 minutes'), t, o,
      greatest(1, (30 * (1.2 + sin(n / 46.0)) * case when o = 'completed' then 1 when n between 90 and 102 then 0.5 else 0.01 end)::int)
    from generate_series(12, 280) n, unnest(array['send_invoice', 'answer_ticket']) t,
      unnest(array['completed', 'dead_letter']) o where o = 'completed' or n between 90 and 102 or n % 20 = 0
    on conflict do nothing`;
  await sql`
    insert into purser.fleet_samples (slot, failed_attempts, spent_usd, schedule_lag_ms, ledger_id)
    select purser.slot_of(now() - n * interval '5 minutes'), case when n between 90 and 102 then 40 else 1 end,
      round((0.3 * (1.2 + sin(n / 46.0)))::numeric, 2), 200 + (n % 37) * (n % 37) * 3, 0
    from generate_series(12, 280) n on conflict do nothing`;
  await sql`
    insert into purser.type_waits
    select purser.slot_of(now() - n * interval '5 minutes'), t, 300 + (n % 41) * (n % 41) * 2
    from generate_series(12, 280) n, unnest(array['send_invoice', 'answer_ticket']) t on conflict do nothing`;
}
