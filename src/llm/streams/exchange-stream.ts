/**
 * One HTTP exchange whose answer is a stream, under one hold for the whole. The reader gets its text as it comes; the
 * reading goes on without a reader, until the provider has told its usage or the hold is about to expire.
 */
import { tokensOf } from '../../budget/usage-classes.ts';
import type { TokenUsage } from '../../budget/usage-classes.ts';
import { codeOf, messageOf } from '../../errors.ts';
import { endFailure, holdForRequest, ownId, settleUsage, stoppedError } from '../exchange.ts';
import { watchStops } from '../exchange.ts';
import type { ExchangeRequest } from '../exchange.ts';
import { abortedBeforeSending, graceMs, keepUnknown, releaseHold } from '../holds.ts';
import type { Account, Hold } from '../holds.ts';
import { LlmError } from '../llm.ts';
import { failureOf, failureOfResponse, post } from '../send.ts';
import { requestIdOf } from '../usage/request-id.ts';
import type { Drains } from './drains.ts';
import { attemptEnded, failureOfStream, streamTimedOut } from './failures.ts';
import { readStream } from './read-stream.ts';
import { StreamRecord } from './record.ts';

/** Who reads the text of a stream. */
export interface StreamReader {
  /** Takes the next text. A promise: no more fits until it resolves. */
  take(text: string): Promise<void> | undefined;
  /** Aborts when nobody reads any more. */
  readonly signal: AbortSignal;
}

export interface StreamedAnswer {
  readonly record: StreamRecord;
  readonly usage: TokenUsage;
  readonly costNanoUsd: bigint;
}

/** Whose tokenizer makes each event of one token or more. */
const wholeTokenHosts = new Set(['api.openai.com']);

/**
 * Throws what `exchange` throws. A hold whose reader left, by the end of its attempt or after the timeout, ends later;
 * `drains` has it until then.
 */
export async function exchangeStream(
  account: Account,
  request: ExchangeRequest,
  reader: StreamReader,
  drains: Drains,
): Promise<StreamedAnswer> {
  const { body } = request;
  const isLeft = () => account.signal.aborted || reader.signal.aborted;
  if (isLeft()) throw abortedBeforeSending(account.signal.reason);
  const hold = await holdForRequest(account, request);
  if (isLeft()) {
    await releaseHold(account, hold);
    throw abortedBeforeSending(account.signal.reason);
  }
  const cut = new AbortController();
  const cutTimer = setTimeout(
    () => cut.abort(),
    Math.max(0, hold.expiresAtMs - graceMs + drains.drainMs - performance.now()),
  );
  const listening = new Listening(account, request, reader, hold);
  const stop = watchStops(account, request);
  stop.signal.addEventListener('abort', () => cut.abort(), { once: true });
  const reading = readAndSettle({ account, request, hold, cut: cut.signal, listening });
  const ended = reading.catch((error: unknown) => {
    throw stop.signal.aborted ? stoppedError(request, hold) : error;
  });
  const clear = (): void => {
    clearTimeout(cutTimer);
    stop.end();
  };
  ended.then(clear, clear);
  try {
    return await Promise.race([ended, listening.stopped]);
  } finally {
    if (listening.isOver) {
      const settled = ended.catch((error: unknown) => noteLostUsage(account, hold, error));
      drains.add({ requestBytes: Buffer.byteLength(body), cut: () => cut.abort(), ended: settled });
    }
    listening.end();
  }
}

/** The failures of the exchange are those of nobody now; one of the database leaves the hold to expiry. */
function noteLostUsage({ log }: Account, { reservationId }: Hold, error: unknown): void {
  if (error instanceof LlmError || codeOf(error) === 'llm_stopped') return;
  log.error(
    { reservationId, code: codeOf(error), reason: messageOf(error) },
    'budget_hold_left_to_expiry',
  );
}

/** The reader, until it leaves, its attempt ends, or the timeout passes. */
class Listening {
  /** Rejects with the error for the handler. */
  readonly stopped: Promise<never>;
  readonly #reader: StreamReader;
  #isUnread = false;
  #isOver = false;
  #stop: (error: LlmError) => void = () => {};
  readonly end: () => void;

  constructor(
    account: Account,
    { url, timeoutMs }: ExchangeRequest,
    reader: StreamReader,
    { pass }: Hold,
  ) {
    this.#reader = reader;
    const { host } = new URL(url);
    this.stopped = new Promise((_, reject) => {
      this.#stop = (error) => {
        this.#isOver = true;
        reject(error);
      };
    });
    // Where the stream ended before, nobody waits for it.
    this.stopped.catch(() => {});
    const leave = (): void => this.#stop(attemptEnded(host));
    const timer = setTimeout(() => {
      const timedOut = streamTimedOut(host, timeoutMs, this.#isUnread);
      // A handler that does not read is no failure of the provider.
      if (this.#isUnread) pass?.abandon();
      else pass?.end(timedOut);
      this.#stop(timedOut);
    }, timeoutMs);
    account.signal.addEventListener('abort', leave, { once: true });
    reader.signal.addEventListener('abort', leave, { once: true });
    this.end = () => {
      clearTimeout(timer);
      account.signal.removeEventListener('abort', leave);
      reader.signal.removeEventListener('abort', leave);
    };
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** Hands text on, and waits until more fits or nobody reads any more. */
  async take(text: string): Promise<void> {
    if (this.#isOver || text === '') return;
    const room = this.#reader.take(text);
    if (room === undefined) return;
    this.#isUnread = true;
    await Promise.race([room, this.stopped]).catch(() => {});
    this.#isUnread = false;
  }
}

interface Reading {
  readonly account: Account;
  readonly request: ExchangeRequest;
  readonly hold: Hold;
  readonly cut: AbortSignal;
  readonly listening: Listening;
}

/** Ends the hold, whatever happens. */
async function readAndSettle(reading: Reading): Promise<StreamedAnswer> {
  const { account, request, hold, cut, listening } = reading;
  const { protocol, url } = request;
  let response: Response;
  try {
    response = await post(ownId(request, hold), cut);
  } catch (error) {
    const failure = failureOf(error, request, { aborted: cut.aborted, timedOut: false });
    hold.pass?.end(failure);
    return endFailure(account, request, hold, { error: failure });
  }
  if (!response.ok) {
    const failed = await failureOfResponse(request, response);
    hold.pass?.end(failed.error);
    return endFailure(account, request, hold, failed);
  }
  const record = new StreamRecord({
    read: protocol.readEvents(),
    usageOf: (body) => protocol.usageOf(body),
    requestIdOf: (event) => requestIdOf(protocol, response.headers, event),
    hasWholeTokens: wholeTokenHosts.has(new URL(url).host),
  });
  const broken = await readStream(response, request, record, (text) => listening.take(text));
  const { finalUsage, receivedOutputTokens } = record;
  const requestId = record.requestId ?? requestIdOf(protocol, response.headers);
  const end = { record, broken, isCut: cut.aborted };
  const outcome = finalUsage === undefined ? 'unknown' : 'settled';
  const failure = failureOfStream(request, { ...end, outcome });
  hold.pass?.end(failure);
  if (finalUsage === undefined) {
    await keepUnknown(account, hold, { requestId, receivedOutputTokens });
    throw failure;
  }
  const costNanoUsd = await settleUsage(account, request, hold, { usage: finalUsage, requestId });
  if (failure !== undefined) throw failure;
  return { record, usage: tokensOf(finalUsage.counts), costNanoUsd };
}
