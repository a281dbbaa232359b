/**
 * When the copy of the dead letters in the queue store is compared with the table: when the table has other ones than
 * before, and twice a minute besides, for what the store has lost.
 */
const everyMs = 30_000;

type Listed = readonly { readonly jobId: string }[];
const idsOf = (listed: Listed): string => listed.map(({ jobId }) => jobId).join();

export class MirrorPace {
  #compared: string | undefined;
  #atMs = -Infinity;

  isDue(listed: Listed, nowMs = performance.now()): boolean {
    return idsOf(listed) !== this.#compared || nowMs - this.#atMs >= everyMs;
  }

  /** They are in the store now. */
  compared(listed: Listed, nowMs = performance.now()): void {
    this.#compared = idsOf(listed);
    this.#atMs = nowMs;
  }
}
