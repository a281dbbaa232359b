/**
 * Limits on wrong passwords per minute: per address, per account and in total, in bounded memory. An address that
 * logged in before is subject to its own limit only, so that nobody can lock the operator out by guessing.
 */
import { isIPv6 } from 'node:net';

const windowMs = 60_000;
const perAddress = 10;
const perAccount = 50;
const inTotal = 200;
/** How many addresses, accounts and known addresses are kept; the oldest are dropped first. */
const maxKept = 10_000;

/** Where a login comes from, and the user name that it names. */
export interface LoginAttempt {
  readonly address: string;
  readonly account: string;
}

export interface LoginLimits {
  /** Seconds until a login may be tried; 0: now. */
  retryAfterSeconds(attempt: LoginAttempt, nowMs: number): number;
  failed(attempt: LoginAttempt, nowMs: number): void;
  succeeded(attempt: Pick<LoginAttempt, 'address'>): void;
}

export function createLoginLimits(): LoginLimits {
  const addresses = new FailureCounts(perAddress);
  const accounts = new FailureCounts(perAccount);
  const total = new FailureCounts(inTotal);
  const known = new Set<string>();
  return {
    retryAfterSeconds: ({ address, account }, nowMs) => {
      const network = networkOf(address);
      const own = addresses.retryAfterSeconds(network, nowMs);
      if (known.has(network)) return own;
      return Math.max(
        own,
        accounts.retryAfterSeconds(account, nowMs),
        total.retryAfterSeconds('', nowMs),
      );
    },
    failed: ({ address, account }, nowMs) => {
      addresses.add(networkOf(address), nowMs);
      accounts.add(account, nowMs);
      total.add('', nowMs);
    },
    succeeded: ({ address }) => {
      const network = networkOf(address);
      addresses.delete(network);
      known.delete(network);
      known.add(network);
      dropOldest(known);
    },
  };
}

/** An IPv6 client has a network of 64 bits to choose its address from. */
function networkOf(address: string): string {
  if (!isIPv6(address)) return address;
  const [head = '', tail = ''] = address.split('::');
  const left = head.split(':').filter((group) => group !== '');
  const right = tail.split(':').filter((group) => group !== '');
  const zeros = address.includes('::')
    ? Array.from({ length: Math.max(0, 8 - left.length - right.length) }, () => '0')
    : [];
  const groups = [...left, ...zeros, ...right].slice(0, 4);
  return groups.map((group) => Number.parseInt(group, 16).toString(16)).join(':');
}

/** Failures per key in the current minute of that key. */
class FailureCounts {
  readonly #limit: number;
  readonly #failures = new Map<string, { readonly sinceMs: number; readonly count: number }>();

  constructor(limit: number) {
    this.#limit = limit;
  }

  retryAfterSeconds(key: string, nowMs: number): number {
    const failures = this.#current(key, nowMs);
    if (failures === undefined || failures.count < this.#limit) return 0;
    return Math.max(1, Math.ceil((failures.sinceMs + windowMs - nowMs) / 1_000));
  }

  add(key: string, nowMs: number): void {
    const failures = this.#current(key, nowMs);
    this.#failures.set(key, {
      sinceMs: failures?.sinceMs ?? nowMs,
      count: (failures?.count ?? 0) + 1,
    });
    dropOldest(this.#failures);
  }

  delete(key: string): void {
    this.#failures.delete(key);
  }

  #current(key: string, nowMs: number) {
    const failures = this.#failures.get(key);
    if (failures === undefined || nowMs - failures.sinceMs < windowMs) return failures;
    this.#failures.delete(key);
    return undefined;
  }
}

function dropOldest(kept: Map<string, unknown> | Set<string>): void {
  if (kept.size <= maxKept) return;
  for (const oldest of kept.keys()) {
    kept.delete(oldest);
    return;
  }
}
