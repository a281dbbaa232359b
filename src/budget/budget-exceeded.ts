/** The refusal of a hold: HTTP 402, with the figures that an operator needs. */
import { PurserError } from '../errors.ts';
import { formatUsd } from './money.ts';

export interface BudgetRefusal {
  readonly tenantId: string;
  readonly limitNanoUsd: bigint;
  /** Spent plus unknown. */
  readonly usedNanoUsd: bigint;
  readonly reservedNanoUsd: bigint;
  readonly neededNanoUsd: bigint;
  readonly resetsAt: Date;
}

/**
 * `details`: `{ scope, limit, used, reserved, needed, resets_at }`, amounts as exact decimal USD.
 * `fatal` when the hold exceeds the whole limit, or the limit is zero: waiting cannot admit it.
 */
export class BudgetExceededError extends PurserError {
  override readonly name = 'BudgetExceededError';
  readonly fatal: boolean;
  readonly resetsAt: Date;
  readonly neededNanoUsd: bigint;

  constructor(refusal: BudgetRefusal) {
    const fatal = refusal.limitNanoUsd === 0n || refusal.neededNanoUsd > refusal.limitNanoUsd;
    const details = {
      scope: 'tenant',
      limit: formatUsd(refusal.limitNanoUsd),
      used: formatUsd(refusal.usedNanoUsd),
      reserved: formatUsd(refusal.reservedNanoUsd),
      needed: formatUsd(refusal.neededNanoUsd),
      resets_at: refusal.resetsAt.toISOString(),
    };
    super(
      'budget_exceeded',
      `tenant ${refusal.tenantId} needs $${details.needed} but has a monthly limit of ` +
        `$${details.limit} with $${details.used} used and $${details.reserved} reserved; ` +
        (fatal
          ? 'no such call fits into the limit: raise it with `purser budget set`'
          : `raise it with \`purser budget set\` or wait until ${details.resets_at}`),
      { status: 402, details: fatal ? { ...details, class: 'fatal' } : details },
    );
    this.fatal = fatal;
    this.resetsAt = refusal.resetsAt;
    this.neededNanoUsd = refusal.neededNanoUsd;
  }
}
