/** Why a reserve took no hold, as errors that say what to do. */
import { PurserError } from '../errors.ts';
import { unknownName } from '../names.ts';
import { BudgetExceededError } from './budget-exceeded.ts';
import type { RefusingScope, ScopeKind } from './budget-exceeded.ts';
import { formatUsd, parseUsd } from './money.ts';
import { scopeKinds } from './scopes.ts';

export type ReservationStatus = 'RESERVED' | 'APPLIED' | 'RELEASED' | 'UNKNOWN';

/** The answer of `purser.budget_reserve`. */
export interface ReserveRow {
  outcome:
    | 'reserved'
    | 'replayed'
    | 'conflict'
    | 'refused'
    | 'stopped'
    | 'limited'
    | 'key_removed'
    | 'stale_token'
    | 'unknown_tenant';
  reservation_id: string;
  status: ReservationStatus;
  sent_at: Date | null;
  expires_at: Date;
  rung: number;
  hold_usd: string;
  max_output_tokens: string | null;
  over_limit: boolean | null;
  scope_kind: ScopeKind | 'fleet' | 'calls_per_minute' | 'calls_in_flight' | null;
  scope_value: string | null;
  scope_period: 'day' | 'month' | 'job' | null;
  limit_usd: string | null;
  limit_calls: string | null;
  used_usd: string;
  reserved_usd: string;
  used_calls: string | null;
  needed_usd: string;
  resets_at: Date | null;
}

/** What an error says of the request. */
interface RefusedRequest {
  readonly tenantId: string;
  readonly jobId: string;
  readonly attempt: number;
  readonly idempotencyKey: string;
  readonly provider: string;
  readonly model: string;
  readonly now?: Date;
}

/** The error of a reserve that took no hold. */
export function refusalOf(row: ReserveRow, request: RefusedRequest): PurserError {
  const { tenantId, idempotencyKey, jobId, attempt } = request;
  if (row.outcome === 'refused') {
    return new BudgetExceededError({
      tenantId,
      scope: scopeOf(row),
      limitNanoUsd: row.limit_usd === null ? undefined : parseUsd(row.limit_usd),
      limitCalls: row.limit_calls === null ? undefined : Number(row.limit_calls),
      usedNanoUsd: parseUsd(row.used_usd),
      usedCalls: Number(row.used_calls ?? 0),
      reservedNanoUsd: parseUsd(row.reserved_usd),
      neededNanoUsd: parseUsd(row.needed_usd),
      resetsAt: row.resets_at,
    });
  }
  if (row.outcome === 'stopped') {
    const { provider, model } = request;
    return stoppedError({ tenantId, provider, model, neededUsd: row.needed_usd });
  }
  if (row.outcome === 'key_removed') {
    return new PurserError(
      'llm_own_key_removed',
      `tenant ${tenantId} had an own key of ${request.provider} when the call began, and it is removed; nothing was ` +
        "sent, and the next attempt is made with the platform's key",
      { details: { class: 'retry', outcome: 'released' } },
    );
  }
  if (row.outcome === 'limited') return fairUseError(row, request);
  if (row.outcome === 'conflict') {
    return new PurserError(
      'idempotency_conflict',
      `key ${idempotencyKey} of tenant ${tenantId} already belongs to another request; use a new key per request`,
      { status: 409, details: { tenantId, idempotencyKey, class: 'fatal' } },
    );
  }
  if (row.outcome === 'stale_token') {
    return new PurserError(
      'stale_token',
      `attempt ${attempt} of job ${jobId} is no longer running and cannot reserve`,
      { status: 409, details: { jobId, attempt } },
    );
  }
  return new PurserError(
    'unknown_tenant',
    `${unknownName('tenant', tenantId)}; add it first: purser tenants add ID --plan PLAN`,
    { status: 404, details: { class: 'fatal' } },
  );
}

function scopeOf({ scope_kind, scope_value, scope_period }: ReserveRow): RefusingScope | undefined {
  const kind = scope_kind === 'fleet' ? scope_kind : scopeKinds.find((one) => one === scope_kind);
  if (kind === undefined || scope_value === null || scope_period === null) return undefined;
  return { kind, value: scope_value, period: scope_period };
}

/** The call parks: `details.class` is `park`, and it wakes when the stop is lifted. */
export function stoppedError(call: StoppedCall): PurserError {
  const { tenantId, provider, model } = call;
  const neededUsd = formatUsd(parseUsd(call.neededUsd));
  return new PurserError(
    'llm_stopped',
    `calls of model ${model} at ${provider} for tenant ${tenantId} are stopped by an operator; see: purser llm stops`,
    { status: 503, details: { class: 'park', neededUsd, provider, model } },
  );
}

/** Of a call that was running: it parks too. */
export function stoppedRunning(call: Omit<StoppedCall, 'tenantId'>): PurserError {
  const { provider, model } = call;
  const neededUsd = formatUsd(parseUsd(call.neededUsd));
  return new PurserError(
    'llm_stopped',
    `a call of model ${model} at ${provider} was ended by an operator's stop while it ran; it may have been billed, ` +
      'so its worst case stays charged',
    { status: 503, details: { class: 'park', outcome: 'unknown', neededUsd, provider, model } },
  );
}

interface StoppedCall {
  readonly tenantId: string;
  readonly provider: string;
  readonly model: string;
  readonly neededUsd: string;
}

const fairUseOf = {
  calls_per_minute: 'calls in a minute',
  calls_in_flight: 'calls in flight',
} as const;

function fairUseError(row: ReserveRow, { tenantId, now }: RefusedRequest): PurserError {
  const { scope_kind: kind, limit_calls: limit, resets_at: freeAt } = row;
  const what = fairUseOf[kind === 'calls_in_flight' ? kind : 'calls_per_minute'];
  const waitMs = (freeAt?.getTime() ?? 0) - (now ?? new Date()).getTime();
  const retryAfterMs = Math.min(Math.max(waitMs, 1000), 60_000);
  return new PurserError(
    'llm_fair_use',
    `tenant ${tenantId} has its ${limit ?? 0} ${what}; the call is made later; raise it with ` +
      '`purser tenants set-limits`',
    {
      status: 429,
      details: {
        class: 'snooze',
        retryAfterMs,
        kind,
        limit: Number(limit),
        used: Number(row.used_calls),
      },
    },
  );
}
