/**
 * The scopes of a storm's tenants: by day in another time zone, by job, and by model, where one is added while the storm
 * runs. Their limits are changed all the time, to about what is used.
 */
import { formatUsd } from '../../../src/budget/money.ts';
import { setScope } from '../../../src/budget/scopes.ts';
import type { SetScopeRequest } from '../../../src/budget/scopes.ts';
import type { Sql } from '../../../src/db/connect.ts';
import type { StormScope, StormTenant } from './order.ts';

const byDay: StormScope = {
  kind: 'tenant',
  period: 'day',
  timeZone: 'Asia/Kolkata',
  counts: 'usd',
};
const byJob: StormScope = { kind: 'job', subject: 'test_attempt', period: 'job', counts: 'usd' };
const eachModel: StormScope = { kind: 'model', period: 'month', counts: 'calls' };
/** From then on the scope of each model binds this model no more. */
const oneModel: StormScope = {
  kind: 'model',
  subject: 'storm',
  period: 'month',
  counts: 'usd',
  late: true,
};

/** Of the tenants with a limit that changes. */
export const scopesOf = (index: number): readonly StormScope[] =>
  [
    [byDay, oneModel],
    [byJob, byDay, oneModel],
    [eachModel, oneModel],
  ][index % 4] ?? [];

/**
 * A scope counts its running period from its begin. All clients, some of whose clocks are ahead, are in it for as long as
 * this after the start and for weeks more.
 */
const lateForMs = 9 * 86_400_000;
const share = (part: number, of: bigint) => (of * BigInt(Math.floor(part * 1000))) / 1000n;

interface Change {
  readonly sql: Sql;
  readonly tenant: StormTenant;
  readonly random: () => number;
  readonly now: Date;
  readonly startsAt: number;
}

/** Before the storm: with room for all that comes first. */
export async function addScopes(sql: Sql, tenant: StormTenant, now: Date): Promise<void> {
  for (const scope of tenant.scopes) {
    if (scope.late === true) continue;
    const limits =
      scope.counts === 'usd'
        ? { limitUsd: formatUsd(BigInt(tenant.limitNanoUsd) / 2n) }
        : { limitCalls: 20 };
    await setScope(sql, requestOf(tenant, scope, { ...limits, hard: true, now }));
  }
}

/** False where there is none to change now. `beside` runs while the change waits for its locks or holds them. */
export async function changeScope(
  { sql, tenant, random, now, startsAt }: Change,
  beside: () => Promise<unknown>,
): Promise<boolean> {
  const known = await sql<{ kind: string; subject: string; used: string; calls: number }[]>`
    select s.kind, s.subject, coalesce(max(p.calls), 0)::int as calls,
      coalesce(max((p.reserved_usd + p.spent_usd + p.unknown_usd) * 1000000000), 0)::bigint as used
    from llm_scopes s
    left join llm_scope_periods p on p.scope_id = s.id and p.starts_at <= ${now} and p.ends_at > ${now}
    where s.tenant_id = ${tenant.attempt.tenantId} group by s.id`;
  const find = ({ kind, subject = '*' }: StormScope) =>
    known.find((one) => one.kind === kind && one.subject === subject);
  const [latest] = await sql<{ at: Date | null }[]>`
    select max(created_at) as at from llm_reservations where created_at > ${now}`;
  const isEarly = (latest?.at ?? now).getTime() < startsAt + lateForMs;
  const missing = isEarly ? tenant.scopes.find((one) => find(one) === undefined) : undefined;
  const changeable = tenant.scopes.filter((one) => find(one) !== undefined);
  const scope = missing ?? changeable[Math.floor(random() * changeable.length)];
  if (scope === undefined) return false;
  const { used = '0', calls = 0 } = find(scope) ?? {};
  const room = random() * 1.2 - 0.1;
  const usd = BigInt(used) + share(room, BigInt(tenant.limitNanoUsd));
  const limits =
    scope.counts === 'usd'
      ? { limitUsd: formatUsd(usd < 0n ? 0n : usd) }
      : { limitCalls: Math.max(0, calls + Math.floor(room * 20)) };
  await Promise.all([
    setScope(sql, requestOf(tenant, scope, { ...limits, hard: random() < 0.95, now })),
    beside(),
  ]);
  return true;
}

function requestOf(
  { attempt: { tenantId } }: StormTenant,
  { kind, subject, period, timeZone }: StormScope,
  limits: Pick<SetScopeRequest, 'limitUsd' | 'limitCalls' | 'hard' | 'now'>,
): SetScopeRequest {
  return { tenantId, kind, subject, period, timeZone, by: 'storm', ...limits };
}
