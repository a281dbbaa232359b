/**
 * Counts failed logins per address, with bounded memory. After `limit` failures an address has to wait until
 * its time window has passed.
 */

export interface FailedLoginOptions {
  readonly limit: number;
  readonly windowMs: number;
  /** How many addresses are kept; the oldest is dropped first. */
  readonly addresses: number;
}

export interface FailedLogins {
  /** Seconds until this address may try again; 0: now. */
  retryAfterSeconds(address: string, nowMs: number): number;
  add(address: string, nowMs: number): void;
  forget(address: string): void;
}

interface Failures {
  readonly sinceMs: number;
  readonly count: number;
}

export function createFailedLogins({
  limit,
  windowMs,
  addresses,
}: FailedLoginOptions): FailedLogins {
  const byAddress = new Map<string, Failures>();
  const current = (address: string, nowMs: number): Failures | undefined => {
    const failures = byAddress.get(address);
    if (failures === undefined || nowMs - failures.sinceMs < windowMs) return failures;
    byAddress.delete(address);
    return undefined;
  };
  return {
    retryAfterSeconds: (address, nowMs) => {
      const failures = current(address, nowMs);
      if (failures === undefined || failures.count < limit) return 0;
      return Math.max(1, Math.ceil((failures.sinceMs + windowMs - nowMs) / 1_000));
    },
    add: (address, nowMs) => {
      const failures = current(address, nowMs);
      byAddress.set(address, {
        sinceMs: failures?.sinceMs ?? nowMs,
        count: (failures?.count ?? 0) + 1,
      });
      if (byAddress.size <= addresses) return;
      for (const oldest of byAddress.keys()) {
        byAddress.delete(oldest);
        return;
      }
    },
    forget: (address) => {
      byAddress.delete(address);
    },
  };
}
