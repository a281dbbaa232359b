/**
 * Counts wrong passwords per address in a bounded memory, so that guessing is slow and cannot fill the
 * process: after `limit` of them an address has to wait until its window has passed.
 */

export interface FailedLoginOptions {
  readonly limit: number;
  readonly windowMs: number;
  /** Addresses that are remembered; the one that failed first is forgotten first. */
  readonly addresses: number;
}

export interface FailedLogins {
  /** Seconds that this address still has to wait; 0 when it may try. */
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
