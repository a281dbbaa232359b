/**
 * Whether an expired lease tells of a dead worker. While Postgres is away nobody can renew one, so a scheduler judges
 * only after it was answered for a whole lease without a break. The server's start time would not do: it stays the same
 * when Postgres recovers from the crash of one of its processes.
 */
import { isServerAway } from '../db/store-errors.ts';

/** The loops ask Postgres about once a second; on a busy machine less often. */
const leastBreakMs = 5_000;

export class LeaseJudge {
  readonly #leaseMs: number;
  readonly #breakMs: number;
  #answeredSinceMs: number | undefined;
  #answeredAtMs = -Infinity;

  constructor(leaseMs: number) {
    this.#leaseMs = leaseMs;
    // Half of a lease is left to a worker that could not renew for so long.
    this.#breakMs = Math.max(leastBreakMs, leaseMs / 2);
  }

  /** Postgres has answered. All times are monotonic. */
  answered(nowMs = performance.now()): void {
    if (this.#isBroken(nowMs)) this.#answeredSinceMs = nowMs;
    this.#answeredAtMs = nowMs;
  }

  /** A round of a loop threw. */
  failed(error: unknown): void {
    if (isServerAway(error)) this.#answeredSinceMs = undefined;
  }

  mayJudge(nowMs = performance.now()): boolean {
    const since = this.#answeredSinceMs;
    return since !== undefined && !this.#isBroken(nowMs) && nowMs - since >= this.#leaseMs;
  }

  #isBroken(nowMs: number): boolean {
    return this.#answeredSinceMs === undefined || nowMs - this.#answeredAtMs > this.#breakMs;
  }
}
