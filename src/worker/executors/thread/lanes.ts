/** Attempts that wait in this thread for those of their lane before them. */

export class Lanes<R extends { readonly laneId: number | undefined }> {
  readonly #waiting = new Map<number, R[]>();

  /** true: it may start, and `next` has to be called after it. false: it waits for that. */
  enter(run: R): boolean {
    const { laneId } = run;
    if (laneId === undefined) return true;
    const waiting = this.#waiting.get(laneId);
    if (waiting === undefined) this.#waiting.set(laneId, []);
    else waiting.push(run);
    return waiting === undefined;
  }

  /** Removes and returns the one whose turn it is. */
  next(laneId: number | undefined): R | undefined {
    if (laneId === undefined) return undefined;
    const next = this.#waiting.get(laneId)?.shift();
    if (next === undefined) this.#waiting.delete(laneId);
    return next;
  }
}
