/** The refusal of a hold: HTTP 402, with the figures that an operator needs. */
import { PurserError } from '../errors.ts';
import { formatUsd } from './money.ts';

export type ScopeKind = 'tenant' | 'job_type' | 'model' | 'provider_key' | 'end_user' | 'job';

/** A limit beside the tenant's month. */
export interface RefusingScope {
  /** `fleet`: set by the operator for all tenants. */
  readonly kind: ScopeKind | 'fleet';
  /** The job type, model, key, end user or job that is limited; of the fleet e.g. `provider openai`. */
  readonly value: string;
  readonly period: 'day' | 'month' | 'job';
}

export interface BudgetRefusal {
  readonly tenantId: string;
  /** What bound; absent for the tenant's month. */
  readonly scope?: RefusingScope | undefined;
  /** Of the period, its top-ups included. Absent where only calls are limited. */
  readonly limitNanoUsd: bigint | undefined;
  readonly limitCalls?: number | undefined;
  /** Spent plus unknown, and of a limit of the fleet by this tenant alone, as what is reserved. */
  readonly usedNanoUsd: bigint;
  readonly usedCalls?: number | undefined;
  readonly reservedNanoUsd: bigint;
  /** What the cheapest form of the request holds at least. */
  readonly neededNanoUsd: bigint;
  /** Null for a limit that never resets: that of one job. */
  readonly resetsAt: Date | null;
}

const nameOfKind: Readonly<Record<Exclude<ScopeKind, 'tenant'>, string>> = {
  job_type: 'job type',
  model: 'model',
  provider_key: 'provider key',
  end_user: 'end user',
  job: 'job',
};

const adjectiveOf = { day: 'daily', month: 'monthly', job: 'total' } as const;

/**
 * `details`: `{ scope, limit, used, reserved, needed, resets_at }`, amounts as exact decimal USD; of a scope beside the
 * tenant's month also `scope_value`, `period` and, where it limits calls, `limit_calls` and `used_calls`.
 * `fatal` when no such call fits into the limit, or it never resets: waiting cannot admit it.
 */
export class BudgetExceededError extends PurserError {
  override readonly name = 'BudgetExceededError';
  readonly fatal: boolean;
  readonly resetsAt: Date | null;
  readonly neededNanoUsd: bigint;

  constructor(refusal: BudgetRefusal) {
    const { scope, limitNanoUsd, limitCalls, usedCalls = 0, neededNanoUsd, resetsAt } = refusal;
    const fatal =
      resetsAt === null ||
      limitNanoUsd === 0n ||
      limitCalls === 0 ||
      (limitNanoUsd !== undefined && neededNanoUsd > limitNanoUsd);
    const details = {
      scope: scope?.kind ?? 'tenant',
      ...(scope === undefined ? {} : { scope_value: scope.value, period: scope.period }),
      limit: limitNanoUsd === undefined ? null : formatUsd(limitNanoUsd),
      ...(limitCalls === undefined ? {} : { limit_calls: limitCalls, used_calls: usedCalls }),
      used: formatUsd(refusal.usedNanoUsd),
      reserved: formatUsd(refusal.reservedNanoUsd),
      needed: formatUsd(neededNanoUsd),
      resets_at: resetsAt?.toISOString() ?? null,
    };
    super('budget_exceeded', sentenceOf(refusal, fatal), {
      status: 402,
      details: fatal ? { ...details, class: 'fatal' } : details,
    });
    this.fatal = fatal;
    this.resetsAt = resetsAt;
    this.neededNanoUsd = neededNanoUsd;
  }
}

function sentenceOf(refusal: BudgetRefusal, fatal: boolean): string {
  const { tenantId, scope, limitNanoUsd, limitCalls, usedCalls = 0, resetsAt } = refusal;
  const [needed, used, reserved] = [
    refusal.neededNanoUsd,
    refusal.usedNanoUsd,
    refusal.reservedNanoUsd,
  ].map(formatUsd);
  if (scope?.kind === 'fleet') return sentenceOfFleet(refusal, scope, fatal);
  const who =
    scope === undefined || scope.kind === 'tenant'
      ? `tenant ${tenantId}`
      : `${nameOfKind[scope.kind]} ${scope.value} of tenant ${tenantId}`;
  const adjective = adjectiveOf[scope?.period ?? 'month'];
  const command = scope === undefined ? 'purser budget set' : 'purser scopes set';
  const ofCalls = limitCalls !== undefined && usedCalls >= limitCalls;
  const limit = ofCalls
    ? `has a ${adjective} limit of ${limitCalls} calls with ${usedCalls} made`
    : `needs $${needed} but has a ${adjective} limit of $${formatUsd(limitNanoUsd ?? 0n)} ` +
      `with $${used} used and $${reserved} reserved`;
  const fix = fatal
    ? `no such call fits into the limit: raise it with \`${command}\``
    : `raise it with \`${command}\` or wait until ${resetsAt?.toISOString() ?? 'then'}`;
  return `${who} ${limit}; ${fix}`;
}

/** A tenant is not told what others have used. */
function sentenceOfFleet(refusal: BudgetRefusal, scope: RefusingScope, fatal: boolean): string {
  const { tenantId, limitNanoUsd = 0n, resetsAt } = refusal;
  const [needed, limit] = [refusal.neededNanoUsd, limitNanoUsd].map(formatUsd);
  const fix = fatal
    ? 'no such call fits into the limit: raise it with `purser fleet-scopes set`'
    : `raise it with \`purser fleet-scopes set\` or wait until ${resetsAt?.toISOString() ?? 'then'}`;
  return (
    `tenant ${tenantId} needs $${needed} of the operator's ${adjectiveOf[scope.period]} limit of $${limit} for ` +
    `${scope.value} of all tenants, which has less left; ${fix}`
  );
}
