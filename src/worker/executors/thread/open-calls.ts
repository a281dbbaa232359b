/** Calls of an attempt's context that are still running: what they do is lost when the handler returns before them. */
import { PurserError } from '../../../errors.ts';

export class OpenCalls {
  readonly #open: string[] = [];

  /** `name` as the handler writes it: ctx.sql. */
  async track<T>(name: string, call: () => Promise<T>): Promise<T> {
    this.#open.push(name);
    try {
      return await call();
    } finally {
      this.#open.splice(this.#open.indexOf(name), 1);
    }
  }

  /** The handler has returned. Throws `call_not_awaited`. */
  assertNone(): void {
    if (this.#open.length === 0) return;
    const names = [...new Set(this.#open)].join(', ');
    throw new PurserError(
      'call_not_awaited',
      `the handler returned while ${names} was still running, whose effect would be lost; await every call of ctx`,
    );
  }
}
