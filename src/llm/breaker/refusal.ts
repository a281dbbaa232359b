/** The error of a call that no form may make, because circuit breakers are open. */
import { PurserError } from '../../errors.ts';

export interface Blocked {
  readonly tenantId: string;
  readonly provider: string;
  readonly model: string;
  /** Of the cheapest form. */
  readonly neededUsd: string;
  /** One of each form, as `kind:key`. */
  readonly breakers: readonly string[];
  readonly lastError: string;
  /** Until the first of them may be probed. */
  readonly waitMs: number;
}

/** The call parks: `details.class` is `park`, and its job wakes when a breaker is closed, or as a probe. */
export function circuitOpen(blocked: Blocked): PurserError {
  const { tenantId, provider, model, neededUsd, breakers, lastError, waitMs } = blocked;
  const retryAfterMs = Math.max(1_000, Math.ceil(waitMs));
  const until = new Date(Date.now() + retryAfterMs).toISOString();
  return new PurserError(
    'llm_circuit_open',
    `calls of model ${model} at ${provider} for tenant ${tenantId} wait until ${until}, because too many failed ` +
      `(${lastError}): circuit breaker ${breakers.join(', ')} is open; see: purser llm breakers`,
    {
      status: 429,
      details: {
        class: 'park',
        outcome: 'released',
        neededUsd,
        provider,
        model,
        breakers,
        retryAfterMs,
        until,
      },
    },
  );
}
