/**
 * What the answers of one worker say about a breaker that is closed: which answers count, and how many of whose calls
 * open it.
 */
import { LlmError } from '../llm.ts';
import type { BreakerId, BreakerKind } from './breaker-id.ts';

/** `none`: the answer says nothing about it. */
export type Verdict = 'ok' | 'failed' | 'none';

const faultsOf: Readonly<Record<BreakerKind, ReadonlySet<string>>> = {
  // 401; 402, or 429 and 403 where the account has no credit; 403; 429.
  credential: new Set(['llm_auth', 'llm_quota_exhausted', 'llm_forbidden', 'llm_rate_limited']),
  // No connection, a lost one, a timeout (408 too), and 5xx.
  model: new Set([
    'llm_unreachable',
    'llm_connection_lost',
    'llm_timeout',
    'llm_provider_error',
    'llm_overloaded',
    'llm_gateway_error',
  ]),
};

/** Whoever makes the call, the key itself is wrong or empty. A 403 may be of one model, a 429 of one tenant's burst. */
const ofTheKeyItself = new Set(['llm_auth', 'llm_quota_exhausted']);

/** What the end of a call says; `error` undefined: it was answered. */
export function verdictOf(kind: BreakerKind, error: unknown): Verdict {
  if (error === undefined) return 'ok';
  if (!(error instanceof LlmError)) return 'none';
  if (faultsOf[kind].has(error.code)) return 'failed';
  if (faultsOf.credential.has(error.code) || faultsOf.model.has(error.code)) return 'none';
  // Refused for what the request is, by a provider that works and knows the key.
  const status = error.details['providerStatus'];
  return typeof status === 'number' && status >= 400 && status < 500 ? 'ok' : 'none';
}

export interface CallEnd {
  readonly verdict: 'ok' | 'failed';
  readonly tenantId: string;
  /** Of the failure. */
  readonly code: string;
  readonly beganAtMs: number;
  readonly endedAtMs: number;
}

export interface Trip {
  /** Tenants whose calls failed; undefined where one is enough. */
  readonly tenants: number | undefined;
  readonly code: string;
}

const windowMs = 60_000;
const minFailures = 5;
const maxEnds = 500;
/** Fewer tenants open a breaker only where nobody else calls, which Postgres knows; it is asked so often. */
const enoughTenants = 3;
const askAgainMs = 10_000;

/** The calls that ended in the last minute, of one breaker. */
export class Tally {
  readonly #id: BreakerId;
  readonly #sinceMs: number;
  #ends: CallEnd[] = [];
  #asked = { tenants: 0, atMs: -Infinity };

  /** `sinceMs`: calls that began before are not counted. */
  constructor(id: BreakerId, sinceMs: number) {
    this.#id = id;
    this.#sinceMs = sinceMs;
  }

  isIdle(nowMs: number): boolean {
    const last = this.#ends.at(-1);
    return last === undefined || last.endedAtMs <= nowMs - windowMs;
  }

  /** Whether the breaker has to open now. */
  add(end: CallEnd): Trip | undefined {
    if (end.beganAtMs < this.#sinceMs) return undefined;
    const oldestMs = end.endedAtMs - windowMs;
    const first = this.#ends[0];
    if (this.#ends.length >= maxEnds || (first !== undefined && first.endedAtMs <= oldestMs)) {
      this.#ends = this.#ends
        .filter((one) => one.endedAtMs > oldestMs)
        .slice(-Math.ceil(maxEnds / 2));
    }
    // A key that is accepted is a good one, whatever was answered before.
    if (this.#id.kind === 'credential' && end.verdict === 'ok') this.#ends = [];
    else this.#ends.push(end);
    const trip = end.verdict === 'failed' ? this.#trip(end.code) : undefined;
    const { tenants = enoughTenants } = trip ?? {};
    if (tenants >= enoughTenants) return trip;
    const wasAsked =
      tenants <= this.#asked.tenants && end.endedAtMs < this.#asked.atMs + askAgainMs;
    if (wasAsked) return undefined;
    this.#asked = { tenants, atMs: end.endedAtMs };
    return trip;
  }

  #trip(code: string): Trip | undefined {
    const failures = this.#ends.filter(({ verdict }) => verdict === 'failed');
    if (failures.length < minFailures) return undefined;
    if (this.#id.kind === 'credential') {
      const certain = failures.filter((one) => ofTheKeyItself.has(one.code)).length >= minFailures;
      const tenants = new Set(failures.map(({ tenantId }) => tenantId)).size;
      const oneIsEnough = certain || this.#id.tenantId !== undefined;
      return { code, tenants: oneIsEnough ? undefined : tenants };
    }
    // By tenant, so that one whose calls all fail does not outweigh the others.
    const callsOf = new Map<string, { ended: number; failed: number }>();
    for (const { tenantId, verdict } of this.#ends) {
      const calls = callsOf.get(tenantId) ?? { ended: 0, failed: 0 };
      calls.ended += 1;
      if (verdict === 'failed') calls.failed += 1;
      callsOf.set(tenantId, calls);
    }
    const tenants = [...callsOf.values()].filter(({ ended, failed }) => 2 * failed >= ended).length;
    return 2 * tenants >= callsOf.size ? { code, tenants } : undefined;
  }
}
