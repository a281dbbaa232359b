/**
 * Cursors that the handler has open. The session answers nothing else until one is read to its end or left: a statement
 * in between would wait for the cursor, and the handler for the statement.
 */
import { whenSettled } from './statement.ts';
import type { DriverQuery } from './statement.ts';

export class Cursors {
  readonly #open = new Map<DriverQuery, AsyncIterator<unknown> | undefined>();
  /** Those that call a function for each batch of rows. They are open while their query runs. */
  readonly #calling = new WeakSet<DriverQuery>();

  hasOpenBeside(query?: DriverQuery): boolean {
    return this.#open.size > (query !== undefined && this.#open.has(query) ? 1 : 0);
  }

  /**
   * `made` is what the driver's `cursor` of `query` returned: the query itself, or an iterable, whose errors go to
   * `failed` too.
   */
  track(query: DriverQuery, made: unknown, failed: (error: unknown) => void): unknown {
    if (made === query) this.#calling.add(query);
    if (made === null || typeof made !== 'object' || made instanceof Promise) return made;
    if (!(Symbol.asyncIterator in made)) return made;
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- by the line above
    const iterable = made as AsyncIterable<unknown>;
    return {
      [Symbol.asyncIterator]: () =>
        this.#trackIterator(query, iterable[Symbol.asyncIterator](), failed),
    };
  }

  sent(query: DriverQuery): void {
    if (!this.#calling.has(query)) return;
    this.#open.set(query, undefined);
    const ended = (): void => void this.#open.delete(query);
    whenSettled(query, ended, ended);
  }

  /** Leaves every cursor that can be left. */
  close(): void {
    for (const iterator of this.#open.values()) void iterator?.return?.();
  }

  #trackIterator(
    query: DriverQuery,
    iterator: AsyncIterator<unknown>,
    failed: (error: unknown) => void,
  ): AsyncIterator<unknown> {
    const ended = (): void => void this.#open.delete(query);
    const tracked: AsyncIterator<unknown> = {
      next: async () => {
        if (!query.executed) this.#open.set(query, tracked);
        try {
          const result = await iterator.next();
          if (result.done === true) ended();
          return result;
        } catch (error) {
          ended();
          failed(error);
          throw error;
        }
      },
      return: async () => {
        ended();
        return (await iterator.return?.()) ?? { done: true, value: undefined };
      },
    };
    return tracked;
  }
}
