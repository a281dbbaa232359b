/**
 * Limits on the pace of logins: per address, per account and in total, in bounded memory. A login beyond its pace waits for
 * its turn, and is refused only when that would take too long. A browser or an address that logged in before has a pace
 * of its own, so that guesses of others do not delay its operator. Requests with a session or a token are no logins.
 */
import { isIPv6 } from 'node:net';

/** So many at once, and one more after each `everyMs`. */
export interface Pace {
  readonly burst: number;
  readonly everyMs: number;
}

export interface LoginPaces {
  readonly address: Pace;
  readonly account: Pace;
  readonly total: Pace;
  /** A login that would wait for longer is refused. */
  readonly maxWaitMs: number;
  /** From the turn of a login to the answer that it was wrong, whatever was compared. */
  readonly wrongAfterMs: number;
}

export const loginPaces: LoginPaces = {
  address: { burst: 10, everyMs: 6_000 },
  account: { burst: 20, everyMs: 2_000 },
  total: { burst: 60, everyMs: 250 },
  maxWaitMs: 10_000,
  wrongAfterMs: 600,
};

/** How many addresses, accounts and known addresses are kept; the oldest are dropped first. */
const maxKept = 10_000;

/** Where a login comes from, and the user name that it names. */
export interface LoginAttempt {
  readonly address: string;
  readonly account: string;
  /** Of a browser that proves that it logged in as this account before. */
  readonly device?: string | undefined;
}

/** `turn`: wait for so long, then try. `refused`: come back after so many seconds. */
export type Admission =
  | { readonly turn: true; readonly waitMs: number }
  | { readonly turn: false; readonly retryAfterSeconds: number };

export interface LoginLimits {
  /** Takes a turn, which counts until `succeeded`: parallel guesses cannot pass. */
  admit(attempt: LoginAttempt, nowMs: number): Admission;
  /** Gives the turn back. */
  succeeded(attempt: LoginAttempt): void;
}

export function createLoginLimits(paces: LoginPaces = loginPaces): LoginLimits {
  const addresses = new Turns(paces.address);
  const devices = new Turns(paces.address);
  const accounts = new Turns(paces.account);
  const total = new Turns(paces.total);
  const known = new Set<string>();
  const countsFor = ({ address, account, device }: LoginAttempt): [Turns, string][] => {
    if (device !== undefined) return [[devices, device]];
    const network = networkOf(address);
    const own: [Turns, string] = [addresses, network];
    if (known.has(network)) return [own];
    return [own, [accounts, account], [total, '']];
  };
  return {
    admit: (attempt, nowMs) => {
      const counts = countsFor(attempt);
      const waitMs = Math.max(...counts.map(([turns, key]) => turns.waitMs(key, nowMs)));
      if (waitMs > paces.maxWaitMs) {
        return { turn: false, retryAfterSeconds: Math.ceil((waitMs - paces.maxWaitMs) / 1_000) };
      }
      for (const [turns, key] of counts) turns.take(key, nowMs);
      return { turn: true, waitMs };
    },
    succeeded: (attempt) => {
      for (const [turns, key] of countsFor(attempt)) turns.giveBack(key);
      const network = networkOf(attempt.address);
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

/** The time at which the turns that a key has taken are paid off (the generic cell rate algorithm). */
class Turns {
  readonly #pace: Pace;
  readonly #paidOffAtMs = new Map<string, number>();

  constructor(pace: Pace) {
    this.#pace = pace;
  }

  waitMs(key: string, nowMs: number): number {
    const { burst, everyMs } = this.#pace;
    const paidOffAtMs = Math.max(this.#paidOffAtMs.get(key) ?? nowMs, nowMs);
    return Math.max(0, paidOffAtMs + everyMs - nowMs - burst * everyMs);
  }

  take(key: string, nowMs: number): void {
    const paidOffAtMs = Math.max(this.#paidOffAtMs.get(key) ?? nowMs, nowMs);
    // Last in the order in which the oldest are dropped.
    this.#paidOffAtMs.delete(key);
    this.#paidOffAtMs.set(key, paidOffAtMs + this.#pace.everyMs);
    dropOldest(this.#paidOffAtMs);
  }

  giveBack(key: string): void {
    const paidOffAtMs = this.#paidOffAtMs.get(key);
    if (paidOffAtMs !== undefined) this.#paidOffAtMs.set(key, paidOffAtMs - this.#pace.everyMs);
  }
}

function dropOldest(kept: Map<string, unknown> | Set<string>): void {
  if (kept.size <= maxKept) return;
  for (const oldest of kept.keys()) {
    kept.delete(oldest);
    return;
  }
}
