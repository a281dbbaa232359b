/**
 * The attempts that this worker is running now: what leases are renewed for and what a shutdown waits for.
 */

export interface RunningJob {
  readonly jobId: string;
  readonly token: string;
  readonly controller: AbortController;
  /** When the lease passes unless it is renewed, by performance.now(). */
  leasedUntilMs: number;
  /** What the handler said since it was last stored. */
  progress?: { readonly done: number; readonly note: string | null } | undefined;
}

export class RunningJobs {
  readonly #byToken = new Map<string, RunningJob>();
  readonly #waiters = new Set<() => void>();
  #beginning = 0;

  get size(): number {
    return this.#byToken.size;
  }

  list(): RunningJob[] {
    return [...this.#byToken.values()];
  }

  /** Counts an entry that was taken and has not begun: a shutdown waits for it. Call the answer once. */
  enter(): () => void {
    this.#beginning += 1;
    return () => {
      this.#beginning -= 1;
      this.#tellWhenIdle();
    };
  }

  add(job: RunningJob): void {
    this.#byToken.set(job.token, job);
  }

  report(token: string, progress: RunningJob['progress']): void {
    const job = this.#byToken.get(token);
    if (job !== undefined) job.progress = progress;
  }

  /** What was reported since the last call. */
  takeProgress(): { token: string; done: number; note: string | null }[] {
    return this.list().flatMap((job) => {
      if (job.progress === undefined) return [];
      const report = { token: job.token, ...job.progress };
      job.progress = undefined;
      return [report];
    });
  }

  remove(token: string): void {
    this.#byToken.delete(token);
    this.#tellWhenIdle();
  }

  get #idle(): boolean {
    return this.#byToken.size === 0 && this.#beginning === 0;
  }

  #tellWhenIdle(): void {
    if (!this.#idle) return;
    for (const resolve of this.#waiters) resolve();
    this.#waiters.clear();
  }

  /** Resolves when nothing runs, or after `timeoutMs`; says whether nothing runs. */
  async untilIdle(timeoutMs: number): Promise<boolean> {
    if (this.#idle) return true;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, timeoutMs);
      this.#waiters.add(() => {
        clearTimeout(timer);
        resolve();
      });
    });
    return this.#idle;
  }
}
