/**
 * The `LlmStream` of a handler: keeps the text of the answer, gives it out once, and tells the supervisor what was read.
 * Imports neither providers nor budgets.
 */
import { UsageError } from '../../errors.ts';
import { leftStream } from '../llm.ts';
import type { LlmAnswer, LlmReply, LlmStream } from '../llm.ts';

/** One stream on its way from the gateway. */
export interface StreamLink {
  /** Its end, without the text. */
  readonly reply: Promise<LlmReply>;
  /** So many UTF-16 units of text were read. */
  read(length: number): void;
  /** Nothing more will be read; `reply` rejects. */
  leave(): void;
}

export type OpenStream = (onText: (text: string) => void) => StreamLink;

export interface HandlerStreamOptions<T> {
  /** Runs `open` once there is room for the call, until what it returns is over. */
  readonly begin: (open: () => Promise<LlmReply>, signal: AbortSignal) => Promise<LlmReply>;
  readonly open: OpenStream;
  /** Makes the answer of a reply with its text. */
  readonly finish: (reply: LlmReply) => Promise<LlmAnswer<T>>;
}

const endsInHalf = (text: string): boolean => /[\uD800-\uDBFF]$/.test(text.slice(-1));

export class HandlerStream<T> implements LlmStream<T> {
  readonly #options: HandlerStreamOptions<T>;
  readonly #left = new AbortController();
  #answer: Promise<LlmAnswer<T>> | undefined;
  #link: StreamLink | undefined;
  #text = '';
  #unread = '';
  #isOver = false;
  #hasReader = false;
  /** Text is kept for the answer, without anybody who reads it before. */
  #isCollecting = false;
  #wakes: (() => void)[] = [];

  constructor(options: HandlerStreamOptions<T>) {
    this.#options = options;
  }

  get answer(): Promise<LlmAnswer<T>> {
    this.#isCollecting = true;
    this.#link?.read(this.#unread.length);
    return this.#started();
  }

  [Symbol.asyncIterator](): AsyncIterator<string> {
    if (this.#hasReader) {
      throw new UsageError(
        'a stream of ctx.llm.stream gives its text once; await its answer for the whole',
      );
    }
    this.#hasReader = true;
    return {
      next: () => this.#next(),
      return: async () => {
        this.#leave();
        // The call is over when the handler goes on.
        await this.#answer?.catch(() => {});
        return { done: true, value: undefined };
      },
    };
  }

  #started(): Promise<LlmAnswer<T>> {
    if (this.#answer === undefined) {
      this.#answer = this.#run();
      // Whoever awaits it gets the rejection all the same.
      this.#answer.catch(() => {});
    }
    return this.#answer;
  }

  async #run(): Promise<LlmAnswer<T>> {
    const { begin, open, finish } = this.#options;
    try {
      const reply = await begin(() => {
        this.#link = open((text) => this.#receive(text));
        return this.#link.reply;
      }, this.#left.signal);
      return await finish({ ...reply, text: this.#text });
    } catch (error) {
      throw this.#left.signal.aborted ? leftStream() : error;
    } finally {
      this.#end();
    }
  }

  #receive(text: string): void {
    if (this.#isOver) return;
    this.#text += text;
    this.#unread += text;
    if (this.#isCollecting) this.#link?.read(text.length);
    this.#wakeReader();
  }

  #end(): void {
    this.#isOver = true;
    this.#wakeReader();
  }

  #wakeReader(): void {
    for (const wake of this.#wakes.splice(0)) wake();
  }

  async #next(): Promise<IteratorResult<string>> {
    const answer = this.#started();
    for (;;) {
      const text = this.#take();
      if (text !== '') return { done: false, value: text };
      if (this.#isOver) break;
      await new Promise<void>((resolve) => {
        this.#wakes.push(resolve);
      });
    }
    if (!this.#left.signal.aborted) await answer;
    return { done: true, value: undefined };
  }

  /** All text that was not given out yet, but for the first half of a character whose second half may come. */
  #take(): string {
    const unread = this.#unread;
    const text = endsInHalf(unread) && !this.#isOver ? unread.slice(0, -1) : unread;
    this.#unread = unread.slice(text.length);
    if (!this.#isCollecting && text !== '') this.#link?.read(text.length);
    return text;
  }

  #leave(): void {
    if (this.#isOver) return;
    // One that was never begun sends nothing.
    this.#answer ??= Promise.reject(leftStream());
    this.#answer.catch(() => {});
    this.#left.abort(leftStream());
    this.#link?.leave();
    this.#unread = '';
    this.#end();
  }
}
