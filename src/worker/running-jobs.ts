/**
 * The attempts that this worker is running now: what leases are renewed for and what a shutdown waits for.
 */

export interface RunningJob {
  readonly jobId: string;
  readonly token: string;
  readonly controller: AbortController;
}

export class RunningJobs {
  readonly #byToken = new Map<string, RunningJob>();
  readonly #waiters = new Set<() => void>();

  get size(): number {
    return this.#byToken.size;
  }

  list(): RunningJob[] {
    return [...this.#byToken.values()];
  }

  add(job: RunningJob): void {
    this.#byToken.set(job.token, job);
  }

  remove(token: string): void {
    this.#byToken.delete(token);
    if (this.#byToken.size > 0) return;
    for (const resolve of this.#waiters) resolve();
    this.#waiters.clear();
  }

  /** Resolves when nothing runs, or after `timeoutMs`; says whether nothing runs. */
  async untilIdle(timeoutMs: number): Promise<boolean> {
    if (this.#byToken.size === 0) return true;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, timeoutMs);
      this.#waiters.add(() => {
        clearTimeout(timer);
        resolve();
      });
    });
    return this.#byToken.size === 0;
  }
}
