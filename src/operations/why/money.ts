/** Why a parked job sleeps: a stop, circuit breakers, or a limit of money, with what is needed and what is there. */
import type { Queryable } from '../../db/connect.ts';
import { option, purserCommand, quoted } from '../shell-text.ts';
import type { Cause } from './cause.ts';
import { exceededLimit } from './budgets.ts';
import type { Refusal } from './budgets.ts';
import { textOf } from './place.ts';
import type { JobPlace } from './place.ts';

export async function moneyCauses(sql: Queryable, job: JobPlace): Promise<Cause[]> {
  const refusal = await lastRefusal(sql, job);
  const stops = refusal === undefined ? [] : await stopCauses(sql, refusal);
  const breakers = refusal?.breakers ?? [];
  const open = breakers.length === 0 ? [] : await breakerCauses(sql, breakers);
  // The job wakes as soon as one of them is closed.
  const kept = open.length < breakers.length ? [] : open;
  const limit = await exceededLimit(sql, job, refusal);
  const own = limit === undefined && job.detail?.['by'] === 'handler' ? [byHandler(job)] : [];
  const causes = [...stops, ...kept, ...(limit === undefined ? [] : [limit]), ...own];
  return causes.length === 0 ? [waking(job)] : causes;
}

/** A call that was stopped after its reserve has no refusal, but a reservation. */
async function lastRefusal(sql: Queryable, { jobId }: JobPlace): Promise<Refusal | undefined> {
  const [refusal] = await sql<Refusal[]>`
    select tenant_id as "tenantId", provider, model, scope_id as "scopeId", value, breakers,
      counts_apart as "countsApart"
    from public.llm_refusals where job_id = ${jobId} order by id desc limit 1`;
  if (refusal !== undefined) return refusal;
  const [call] = await sql<Refusal[]>`
    select tenant_id as "tenantId", provider, model, null as "scopeId", null as value, null as breakers,
      counts_apart as "countsApart"
    from public.llm_reservations where job_id = ${jobId} order by created_at desc limit 1`;
  return call;
}

export interface StopRow {
  readonly tenantId: string | null;
  readonly provider: string | null;
  readonly model: string | null;
  readonly by: string;
  readonly at: Date;
  readonly reason: string;
}

async function stopCauses(
  sql: Queryable,
  { tenantId, provider, model }: Refusal,
): Promise<Cause[]> {
  const stops = await sql<StopRow[]>`
    select tenant_id as "tenantId", provider, model, set_by as by, at, reason from public.llm_stops
    where (tenant_id is null or tenant_id = ${tenantId}) and (provider is null or provider = ${provider}::text)
      and (model is null or model = ${model}::text)
    order by at, id`;
  return stops.map(stopCause);
}

export function stopCause({ tenantId, provider, model, by, at, reason }: StopRow): Cause {
  const of = [
    ...(model === null ? [] : [`of model ${model}`]),
    ...(provider === null ? [] : [`at ${provider}`]),
    ...(tenantId === null ? [] : [`for tenant ${tenantId}`]),
  ].join(' ');
  const target = [
    ...(tenantId === null ? [] : [option('tenant', tenantId)]),
    ...(provider === null ? [] : [option('provider', provider)]),
    ...(model === null ? [] : [option('model', model)]),
  ];
  return {
    code: 'llm_stopped',
    says: `LLM calls ${of} are stopped by ${by} since ${at.toISOString()}: ${reason}`,
    lift: purserCommand('llm', 'resume', ...target),
    facts: { tenantId, provider, model, by, since: at.toISOString(), reason },
  };
}

interface BreakerRow {
  readonly name: string;
  readonly state: 'open' | 'probing';
  readonly until: Date;
  readonly lastError: string;
}

/** Of `kind:key`; all that are open where none is named. */
export async function breakerCauses(sql: Queryable, names?: readonly string[]): Promise<Cause[]> {
  const rows = await sql<BreakerRow[]>`
    select kind || ':' || key as name, state, until, last_error as "lastError" from public.llm_breakers
    where state <> 'closed' and (${names === undefined} or kind || ':' || key = any (${[...(names ?? [])]}::text[]))
    order by kind, key limit 20`;
  return rows.map(({ name, state, until, lastError }) => ({
    code: 'llm_circuit_open',
    says: `circuit breaker ${name} is ${state === 'open' ? `open until ${until.toISOString()}` : 'trying one call'}, because calls failed (${lastError}); then one job tries`,
    lift: purserCommand('llm', 'breakers', 'reset', quoted(name)),
    facts: { breaker: name, state, until: until.toISOString(), lastError },
  }));
}

function byHandler({ detail, neededUsd, scheduledFor }: JobPlace): Cause {
  const at = scheduledFor.toISOString();
  return {
    code: 'parked_by_handler',
    says: `its handler parked it (${textOf(detail, 'reason')}): until ${at}, or until the budget has $${neededUsd ?? '0'}`,
    lift: null,
    facts: { until: at, neededUsd, reason: detail?.['reason'] ?? null },
  };
}

function waking({ detail }: JobPlace): Cause {
  return {
    code: 'waking',
    says: `it is parked (${textOf(detail, 'reason')}), and what it needs is there again; the next sweeps wake it, after the tenant's other parked jobs of higher priority`,
    lift: null,
    facts: { reason: detail?.['reason'] ?? null },
  };
}
