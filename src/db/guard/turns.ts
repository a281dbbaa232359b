/**
 * The order in which borrowers get sessions. Borrowers that wait take turns, and the calls of one are served in their
 * order; but transactions of one borrower, which keep a session while its code runs, never take all of them.
 */

export interface Borrower {
  /** The attempt: its token. */
  readonly name: string;
  /** A function of the borrower runs while it has the session. false: a single statement. */
  readonly keepsSession: boolean;
}

/** `S` is a session. */
export interface Waiter<S> {
  readonly borrower: Borrower;
  readonly resolve: (session: S | Promise<S>) => void;
  readonly reject: (error: Error) => void;
}

export class Turns<S> {
  readonly #maxKept: number;
  /** In the order of the turns: who was served last is the last. */
  readonly #waiting = new Map<string, Waiter<S>[]>();
  /** Sessions that transactions of each borrower have. */
  readonly #kept = new Map<string, number>();

  constructor(sessions: number) {
    this.#maxKept = Math.max(1, sessions - 1);
  }

  add(waiter: Waiter<S>): void {
    const { name } = waiter.borrower;
    const waiting = this.#waiting.get(name);
    if (waiting === undefined) this.#waiting.set(name, [waiter]);
    else waiting.push(waiter);
  }

  /** Removes and returns the next waiter that may have a session; it has one from now on. */
  next(): Waiter<S> | undefined {
    for (const [name, waiting] of this.#waiting) {
      const index = waiting.findIndex(({ borrower }) => this.#mayHave(borrower));
      const [waiter] = index < 0 ? [] : waiting.splice(index, 1);
      if (waiter === undefined) continue;
      this.#waiting.delete(name);
      if (waiting.length > 0) this.#waiting.set(name, waiting);
      this.#count(waiter.borrower, 1);
      return waiter;
    }
    return undefined;
  }

  /** The borrower's session is back, or was not opened. */
  returned(borrower: Borrower): void {
    this.#count(borrower, -1);
  }

  /** Removes and returns all. */
  clear(): Waiter<S>[] {
    const all = [...this.#waiting.values()].flat();
    this.#waiting.clear();
    return all;
  }

  #mayHave({ name, keepsSession }: Borrower): boolean {
    return !keepsSession || (this.#kept.get(name) ?? 0) < this.#maxKept;
  }

  #count({ name, keepsSession }: Borrower, change: number): void {
    if (!keepsSession) return;
    const kept = (this.#kept.get(name) ?? 0) + change;
    if (kept === 0) this.#kept.delete(name);
    else this.#kept.set(name, kept);
  }
}
