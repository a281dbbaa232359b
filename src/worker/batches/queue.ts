/** Requests that wait for their statement, in order. A batch holds at most one request per job. */

export interface PendingRequest<Q, A> {
  request: Q;
  /** By performance.now(). */
  readonly giveUpAtMs: number;
  /** It has to be sent in a statement of its own. */
  isSeparate: boolean;
  /** How often the database refused it. */
  refusals: number;
  readonly resolve: (answer: A) => void;
  readonly reject: (error: unknown) => void;
}

export interface BatchLimits<Q> {
  readonly max: number;
  /** A larger request is sent by itself. */
  readonly maxBytes: number;
  readonly bytesOf: (request: Q) => number;
}

export class RequestQueue<Q extends { readonly jobId: string }, A> {
  #pending: PendingRequest<Q, A>[] = [];

  get size(): number {
    return this.#pending.length;
  }

  add(request: Q, giveUpAtMs: number): Promise<A> {
    return new Promise((resolve, reject) => {
      this.#pending.push({ request, giveUpAtMs, isSeparate: false, refusals: 0, resolve, reject });
    });
  }

  /** Removes the next batch: the oldest request, and those within `limits` that may be sent with it. */
  takeBatch(limits: BatchLimits<Q>): PendingRequest<Q, A>[] {
    const [first, ...others] = this.#pending;
    if (first === undefined) return [];
    const batch = [first];
    const jobIds = new Set([first.request.jobId]);
    const left: PendingRequest<Q, A>[] = [];
    let bytes = limits.bytesOf(first.request);
    for (const other of others) {
      const mayJoin =
        batch.length < limits.max &&
        !first.isSeparate &&
        !other.isSeparate &&
        !jobIds.has(other.request.jobId);
      const more = mayJoin ? limits.bytesOf(other.request) : 0;
      const fits = mayJoin && bytes + more <= limits.maxBytes;
      (fits ? batch : left).push(other);
      if (!fits) continue;
      bytes += more;
      jobIds.add(other.request.jobId);
    }
    this.#pending = left;
    return batch;
  }

  requeueFirst(batch: readonly PendingRequest<Q, A>[]): void {
    this.#pending = [...batch, ...this.#pending];
  }

  requeueLast(batch: readonly PendingRequest<Q, A>[]): void {
    this.#pending = [...this.#pending, ...batch];
  }

  replaceAll(replacementOf: (request: Q) => Q): void {
    for (const pending of this.#pending) pending.request = replacementOf(pending.request);
  }

  /** Rejects every request whose time is over. */
  rejectOverdue(error: unknown): void {
    const nowMs = performance.now();
    for (const { giveUpAtMs, reject } of this.#pending) if (giveUpAtMs <= nowMs) reject(error);
    this.#pending = this.#pending.filter(({ giveUpAtMs }) => giveUpAtMs > nowMs);
  }

  /** Milliseconds until the next request's time is over. */
  get overdueInMs(): number {
    return Math.min(...this.#pending.map(({ giveUpAtMs }) => giveUpAtMs)) - performance.now();
  }
}
