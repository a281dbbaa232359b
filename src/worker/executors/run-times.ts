/** How long a job of each type runs, in milliseconds: a moving average of what executors report. */

/** Weight of the newest attempt. */
const newest = 0.05;

export class RunTimes {
  readonly #byType = new Map<string, number>();

  add(jobType: string | undefined, runMs: number): void {
    if (jobType === undefined) return;
    const known = this.#byType.get(jobType);
    this.#byType.set(jobType, known === undefined ? runMs : known + newest * (runMs - known));
  }

  /** undefined before the first attempt. */
  of(jobType: string): number | undefined {
    return this.#byType.get(jobType);
  }
}
