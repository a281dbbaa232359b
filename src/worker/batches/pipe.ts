/**
 * Sends the requests of many callers in few statements, and answers each caller. The requests of one turn of the event
 * loop are sent together; those that arrive meanwhile when the statement has returned. One statement runs at a time, and
 * they begin a few milliseconds apart: one for ten requests costs little more than one for a single request.
 */
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from '../../log.ts';
import { answeredWithin, failureOf } from './failure.ts';
import { RequestQueue } from './queue.ts';
import type { BatchLimits, PendingRequest } from './queue.ts';

export interface PipeOptions<Q, A> {
  /** Named in log lines. */
  readonly name: string;
  readonly log: Logger;
  readonly limits: BatchLimits<Q>;
  /** A request that has waited so long is rejected with the error of its last statement. */
  readonly giveUpMs: number;
  /** A statement without an answer for so long is repeated: its connection may be lost. */
  readonly answerWithinMs: number;
  /** One statement. It may be repeated with the same requests, whether or not the first one took effect. */
  readonly send: (requests: readonly Q[]) => Promise<(request: Q) => A>;
  /** The request to send in place of one that was refused; undefined rejects it. */
  readonly replace: (request: Q, error: unknown, refusals: number) => Q | undefined;
  /** Replaces each request that waited while the database was unavailable. Default: the same request. */
  readonly afterOutage?: (request: Q) => Q;
}

/** Between the beginnings of two statements, unless many requests wait. */
const gatherMs = 4;
const many = 12;

const firstBackoffMs = 50;
const maxBackoffMs = 2_000;

export function createPipe<Q extends { readonly jobId: string }, A>(
  options: PipeOptions<Q, A>,
): (request: Q) => Promise<A> {
  const pipe = new Pipe(options);
  return (request) => pipe.add(request);
}

class Pipe<Q extends { readonly jobId: string }, A> {
  readonly #options: PipeOptions<Q, A>;
  readonly #queue = new RequestQueue<Q, A>();
  #isSending = false;
  #sentAtMs = -Infinity;
  /** Ends the wait for more requests. */
  #enough: (() => void) | undefined;
  /** Batches in a row that found the database unavailable. */
  #failures = 0;

  constructor(options: PipeOptions<Q, A>) {
    this.#options = options;
  }

  add(request: Q): Promise<A> {
    const answer = this.#queue.add(request, performance.now() + this.#options.giveUpMs);
    if (!this.#isSending) {
      this.#isSending = true;
      void this.#sendAll();
    } else if (this.#queue.size === many) this.#enough?.();
    return answer;
  }

  async #sendAll(): Promise<void> {
    this.#failures = 0;
    while (this.#queue.size > 0) {
      await this.#gather();
      this.#sentAtMs = performance.now();
      const batch = this.#queue.takeBatch(this.#options.limits);
      try {
        await this.#send(batch);
        this.#failures = 0;
      } catch (error) {
        const failure = failureOf(error);
        if (failure === 'refused') this.#handleRefusal(batch, error);
        else if (failure === 'locked') this.#requeueSeparately(batch, error);
        else await this.#repeatLater(batch, error);
      }
    }
    this.#isSending = false;
  }

  /** Until the next statement may begin, and for the other requests of this turn. */
  async #gather(): Promise<void> {
    const waitMs = this.#sentAtMs + gatherMs - performance.now();
    if (waitMs > 0 && this.#queue.size < many) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, waitMs);
        this.#enough = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      this.#enough = undefined;
    }
    await nextTurn();
  }

  async #send(batch: readonly PendingRequest<Q, A>[]): Promise<void> {
    const sent = this.#options.send(batch.map(({ request }) => request));
    const answerOf = await answeredWithin(sent, this.#options.answerWithinMs);
    for (const { resolve, request } of batch) resolve(answerOf(request));
  }

  /** Which request was refused is not known: each is sent again by itself. A single one is replaced or rejected. */
  #handleRefusal(batch: readonly PendingRequest<Q, A>[], error: unknown): void {
    const [single] = batch;
    if (single === undefined || batch.length > 1) {
      for (const pending of batch) pending.isSeparate = true;
      this.#queue.requeueFirst(batch);
      return;
    }
    single.refusals += 1;
    const replacement = this.#options.replace(single.request, error, single.refusals);
    if (replacement === undefined) return single.reject(error);
    single.request = replacement;
    this.#queue.requeueFirst([single]);
  }

  /** Each is sent by itself after all others, so that no other job waits for the locked row. */
  #requeueSeparately(batch: readonly PendingRequest<Q, A>[], error: unknown): void {
    for (const pending of batch) pending.isSeparate = true;
    this.#queue.requeueLast(batch);
    const { log, name } = this.#options;
    log.warn({ error, batch: name, waiting: this.#queue.size }, 'batch_lock_timeout');
    // The statement waited for the lock as long as it may, so no pause follows.
    this.#queue.rejectOverdue(error);
  }

  async #repeatLater(batch: readonly PendingRequest<Q, A>[], error: unknown): Promise<void> {
    const { log, name, afterOutage } = this.#options;
    this.#queue.requeueFirst(batch);
    if (afterOutage !== undefined) this.#queue.replaceAll(afterOutage);
    this.#queue.rejectOverdue(error);
    this.#failures += 1;
    const waiting = this.#queue.size;
    log.warn({ error, batch: name, waiting, failures: this.#failures }, 'batch_repeated');
    if (waiting === 0) return;
    const backoffMs = Math.min(firstBackoffMs * 2 ** (this.#failures - 1), maxBackoffMs);
    await sleep(Math.max(1, Math.min(backoffMs, this.#queue.overdueInMs)));
  }
}
