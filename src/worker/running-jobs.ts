/**
 * The attempts that this worker runs now: their leases are renewed and a shutdown waits for them. Their progress and
 * log lines wait here to be stored.
 */
import type { AttemptEnd, BegunAttempt, FinishResult } from '../jobs/attempts.ts';
import type { ProgressReport } from '../jobs/leases.ts';
import type { LogReport } from '../jobs/log-lines.ts';
import type { AbortSource } from './executors/abort-source.ts';
import type { Report } from './executors/thread/attempt-log.ts';

export interface Execution {
  readonly end: AttemptEnd;
  readonly finish: FinishResult;
}

export interface RunningJob {
  readonly attempt: BegunAttempt;
  readonly abort: AbortSource;
  /** When the lease expires unless it is renewed, by performance.now(). */
  leasedUntilMs: number;
  /** One of these two is called once. */
  onEnded?: (execution: Execution) => void;
  onFailed?: (error: unknown) => void;
}

/** Progress and log lines since the last call of `takeOutput`. */
export interface HandlerOutput {
  readonly progress: readonly ProgressReport[];
  readonly logs: readonly LogReport[];
}

/** Ends that may wait to be stored while other jobs run in their slots, and what they may hold. */
const mostStoring = 1_000;
const mostStoringBytes = 32 * 1024 * 1024;

export class RunningJobs {
  readonly #byToken = new Map<string, RunningJob>();
  readonly #waiters = new Set<() => void>();
  #progress = new Map<string, ProgressReport>();
  #logs = new Map<string, LogReport>();
  #beginning = 0;
  #storing = 0;
  #storingBytes = 0;

  get size(): number {
    return this.#byToken.size;
  }

  list(): RunningJob[] {
    return [...this.#byToken.values()];
  }

  /** Counts jobs that were taken and have not begun yet: a shutdown waits for it. Call the result once. */
  enterBeginning(): () => void {
    this.#beginning += 1;
    return () => {
      this.#beginning -= 1;
      this.#notifyWhenIdle();
    };
  }

  /** Whether more jobs may run while the ends of others wait to be stored. */
  get mayStoreMore(): boolean {
    return this.#storing <= mostStoring && this.#storingBytes <= mostStoringBytes;
  }

  /** An end waits to be stored (1), or does no longer (-1). */
  countStoring(change: 1 | -1, bytes: number): void {
    this.#storing += change;
    this.#storingBytes += change * bytes;
  }

  add(job: RunningJob): void {
    this.#byToken.set(job.attempt.token, job);
  }

  /** Keeps the newest progress and every line of a running attempt. */
  report(token: string, { progress, lines }: Report): void {
    const job = this.#byToken.get(token);
    if (job === undefined) return;
    if (progress !== undefined) this.#progress.set(token, { token, ...progress });
    if (lines.length === 0) return;
    const { jobId, tenantId, attempt } = job.attempt;
    const earlier = this.#logs.get(token)?.lines ?? [];
    this.#logs.set(token, { jobId, tenantId, attempt, lines: [...earlier, ...lines] });
  }

  takeOutput(): HandlerOutput {
    const output = { progress: [...this.#progress.values()], logs: [...this.#logs.values()] };
    this.#progress = new Map();
    this.#logs = new Map();
    return output;
  }

  remove(token: string): void {
    this.#byToken.delete(token);
    this.#notifyWhenIdle();
  }

  /** No job runs or is about to begin. */
  get isIdle(): boolean {
    return this.#byToken.size === 0 && this.#beginning === 0;
  }

  #notifyWhenIdle(): void {
    if (!this.isIdle) return;
    for (const resolve of this.#waiters) resolve();
    this.#waiters.clear();
  }

  /** Resolves to true when no job runs, or to false after `timeoutMs`. */
  async untilIdle(timeoutMs: number): Promise<boolean> {
    if (this.isIdle) return true;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, timeoutMs);
      this.#waiters.add(() => {
        clearTimeout(timer);
        resolve();
      });
    });
    return this.isIdle;
  }
}
