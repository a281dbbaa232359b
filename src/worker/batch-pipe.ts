/**
 * One statement for the requests of many callers, each of whom gets an answer of its own. The first leaves at
 * once; what arrives meanwhile leaves together as soon as the statement in flight is back.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { isStoreUnavailable } from '../db/store-errors.ts';
import { codeOf, PurserError } from '../errors.ts';
import type { Logger } from '../log.ts';

export interface PipeOptions<Q, A> {
  /** Named in log lines. */
  readonly name: string;
  readonly log: Logger;
  readonly maxBatch: number;
  /** After so long without an answer a caller is told why. */
  readonly giveUpMs: number;
  /** A statement without an answer for so long is repeated: nobody knows what became of its connection. */
  readonly answerWithinMs: number;
  /** One statement. It may be repeated with the same requests, whatever became of it the first time. */
  readonly send: (requests: readonly Q[]) => Promise<(request: Q) => A>;
  /** What to ask in place of a request that the database refuses; undefined when there is nothing. */
  readonly replace: (request: Q, error: unknown, times: number) => Q | undefined;
}

interface Caller<Q, A> {
  request: Q;
  readonly giveUpAtMs: number;
  /** A statement with it failed for the sake of one of its requests. */
  isSuspect: boolean;
  refusals: number;
  readonly resolve: (answer: A) => void;
  readonly reject: (error: unknown) => void;
}

const firstBackoffMs = 50;
const maxBackoffMs = 2_000;

/** Of every batch a job is in at most once: the answers are by job. */
export function createPipe<Q extends { readonly jobId: string }, A>(
  options: PipeOptions<Q, A>,
): (request: Q) => Promise<A> {
  const { send, replace, log, maxBatch, giveUpMs } = options;
  let waiting: Caller<Q, A>[] = [];
  let isSending = false;

  const take = (): Caller<Q, A>[] => {
    const batch: Caller<Q, A>[] = [];
    const left: Caller<Q, A>[] = [];
    const jobIds = new Set<string>();
    for (const caller of waiting) {
      const [first] = batch;
      const fits =
        first === undefined ||
        (batch.length < maxBatch && !first.isSuspect && !jobIds.has(caller.request.jobId));
      if (fits && !(caller.isSuspect && first !== undefined)) {
        batch.push(caller);
        jobIds.add(caller.request.jobId);
      } else left.push(caller);
    }
    waiting = left;
    return batch;
  };

  const sendBatch = async (batch: readonly Caller<Q, A>[]): Promise<void> => {
    const sent = send(batch.map(({ request }) => request));
    const answerOf = await answeredWithin(sent, options.answerWithinMs);
    for (const { resolve, request } of batch) resolve(answerOf(request));
  };

  /** Asked again one by one; alone, a request is asked in other words, or its caller told. */
  const judge = (batch: readonly Caller<Q, A>[], error: unknown): void => {
    const [only] = batch;
    if (only === undefined || batch.length > 1) {
      for (const caller of batch) caller.isSuspect = true;
      waiting = [...batch, ...waiting];
      return;
    }
    only.refusals += 1;
    const other = replace(only.request, error, only.refusals);
    if (other === undefined) return only.reject(error);
    only.request = other;
    waiting = [only, ...waiting];
  };

  /** Of whichever of them has the row: it is asked for last, and by itself, so that nobody else waits for it. */
  const stepAside = (batch: readonly Caller<Q, A>[], error: unknown): void => {
    for (const caller of batch) caller.isSuspect = true;
    waiting = [...waiting, ...batch];
    log.warn({ error, batch: options.name, waiting: waiting.length }, 'batch_met_a_lock');
    giveUp(error);
  };

  const giveUp = (error: unknown): void => {
    const nowMs = performance.now();
    for (const caller of waiting) if (caller.giveUpAtMs <= nowMs) caller.reject(error);
    waiting = waiting.filter(({ giveUpAtMs }) => giveUpAtMs > nowMs);
  };

  const pump = async (): Promise<void> => {
    let tries = 0;
    while (waiting.length > 0) {
      const batch = take();
      try {
        await sendBatch(batch);
        tries = 0;
      } catch (error) {
        if (!mayPass(error)) {
          judge(batch, error);
          continue;
        }
        if (codeOf(error) === lockNotAvailable) {
          stepAside(batch, error);
          continue;
        }
        waiting = [...batch, ...waiting];
        giveUp(error);
        tries += 1;
        log.warn({ error, batch: options.name, waiting: waiting.length, tries }, 'batch_repeated');
        if (waiting.length === 0) break;
        const nextGiveUpMs =
          Math.min(...waiting.map(({ giveUpAtMs }) => giveUpAtMs)) - performance.now();
        await sleep(
          Math.max(1, Math.min(firstBackoffMs * 2 ** (tries - 1), maxBackoffMs, nextGiveUpMs)),
        );
      }
    }
    isSending = false;
  };

  return (request) =>
    new Promise<A>((resolve, reject) => {
      const giveUpAtMs = performance.now() + giveUpMs;
      waiting.push({ request, giveUpAtMs, isSuspect: false, refusals: 0, resolve, reject });
      if (isSending) return;
      isSending = true;
      void pump();
    });
}

/** The database waited for the row for as long as it may: so the next try needs no pause. */
const lockNotAvailable = '55P03';

/** SQLSTATEs beyond those of a store that is down: a standby after a failover, a lock, a disk. */
const passing = /^(25006|55P03|58\w{3}|28\w{3})$/;

/** Whether the same request may be answered later. A pool that we closed ourselves will not open again. */
function mayPass(error: unknown): boolean {
  const code = codeOf(error);
  return (
    code !== 'CONNECTION_ENDED' &&
    (code === 'no_answer' || isStoreUnavailable(error) || passing.test(code))
  );
}

async function answeredWithin<T>(answer: Promise<T>, ms: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new PurserError('no_answer', `the database gave no answer within ${ms} ms`));
    }, ms);
  });
  try {
    return await Promise.race([answer, late]);
  } finally {
    clearTimeout(timer);
  }
}
