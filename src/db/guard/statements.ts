/**
 * The statements of one transaction. Each passes here before it is sent; none passes after `close`, and none after
 * the transaction has ended on the server. `drain` waits for those that were sent.
 */
import { codeOf } from '../../errors.ts';
import { Cursors } from './cursors.ts';
import { leftOpen, outsideSavepoint, readingOpen, transactionEnded } from './faults.ts';
import type { Scope } from './scope.ts';
import type { Session } from './session.ts';
import {
  discard,
  endsTransaction,
  isCopyStream,
  isComplete,
  mayEndTransaction,
  onEnded,
  whenSettled,
} from './statement.ts';
import type { CopyStream, DriverQuery } from './statement.ts';

/** How long a cursor or COPY stream that the handler left may take to close. */
const leftOpenMs = 1_000;
const inFailedTransaction = '25P02';
const ignore = (): void => {};

export class Statements {
  readonly #session: Session;
  readonly #transactionId: string;
  readonly #running = new Set<DriverQuery>();
  readonly #streams = new Set<CopyStream>();
  readonly #cursors = new Cursors();
  #refusal: Error | undefined;
  /** Statements wait for it while it is checked that the transaction goes on. */
  #check: Promise<void> | undefined;
  #checks = 0;
  #wake: () => void = () => {};
  #fail: (error: Error) => void = () => {};
  /** Rejects when the transaction has ended on the server, or the session has. */
  readonly ended: Promise<never>;
  /** Whether a statement was refused since `close`. */
  refusedLate = false;
  /** Whether nothing that the handler did can still reach the session after its end. */
  reusable = true;
  #savepoints = 0;

  constructor(session: Session, transactionId: string) {
    this.#session = session;
    this.#transactionId = transactionId;
    this.ended = new Promise((_, reject) => {
      this.#fail = reject;
    });
    this.ended.catch(() => {});
    session.onEnd((error) => this.#abort(error));
  }

  nextSavepoint(name: string): string {
    this.#savepoints += 1;
    return `s${this.#savepoints}${name === '' ? '' : `_${name}`}`;
  }

  /** Refuses every further statement. */
  close(): void {
    this.#refusal ??= transactionEnded('a statement was issued after the transaction had ended');
  }

  /**
   * Makes `query` pass here when it is sent. Its error becomes that of `scope`. `trusted`: it is not of the handler
   * and cannot end the transaction.
   */
  guard(query: DriverQuery, scope: Scope, trusted = false): void {
    const { handle, handler, resolve, cancel, cursor } = query;
    if (!trusted) scope.made(query);
    query.handle = async () => {
      if (query.executed) return;
      scope.sent(query);
      const refusal = this.#refusal ?? (trusted ? undefined : this.#misplaced(query, scope));
      if (refusal === undefined) {
        this.#track(query, scope, trusted);
        await handle.call(query);
      } else this.#refuse(query, scope, refusal);
    };
    query.handler = Object.assign((sent: DriverQuery) => this.#send(sent, handler, trusted), {
      debug: handler.debug,
    });
    query.resolve = (value) => {
      if (isCopyStream(value)) this.#trackStream(query, value, scope);
      resolve(value);
    };
    query.cancel = () => {
      // The request to cancel could reach the server during the next transaction.
      this.reusable = false;
      return cancel.call(query);
    };
    query.cursor = (...args) =>
      this.#cursors.track(
        query,
        cursor.apply(query, [...args]),
        (error) => (scope.error ??= error),
      );
  }

  /**
   * Waits until no statement runs, and then refuses every further one. Throws `statement_left_open` for a cursor or
   * COPY stream that does not close.
   */
  async drain(): Promise<void> {
    this.#cursors.close();
    if (this.#hasOpenStream) this.#abortLeftOpen();
    const deadlineMs = performance.now() + leftOpenMs;
    while (this.#running.size > 0 || this.#streams.size > 0 || this.#check !== undefined) {
      let timer: NodeJS.Timeout | undefined;
      const change = new Promise<void>((resolve) => {
        this.#wake = resolve;
        if (this.#waitsForHandler()) timer = setTimeout(resolve, deadlineMs - performance.now());
      });
      await Promise.race([change, this.ended]).finally(() => clearTimeout(timer));
      if (this.#waitsForHandler() && performance.now() >= deadlineMs) this.#abortLeftOpen();
    }
    this.close();
  }

  #waitsForHandler(): boolean {
    return (
      this.#streams.size > 0 || [...this.#running].some((query) => query.cursorRows !== undefined)
    );
  }

  /** Throws `cursor_open` where a statement would wait for the handler. */
  assertNothingOpen(): void {
    if (this.#cursors.hasOpenBeside() || this.#hasOpenStream) throw readingOpen();
  }

  /** Leaves the cursors, so that the next statement is answered. */
  closeCursors(): void {
    this.#cursors.close();
  }

  get #hasOpenStream(): boolean {
    return [...this.#streams].some((stream) => !isComplete(stream));
  }

  /** Why the handler may not issue it now. The transaction fails with it, also when the handler ignores it. */
  #misplaced(query: DriverQuery, scope: Scope): Error | undefined {
    if (scope.isInSavepoint) return outsideSavepoint();
    return this.#cursors.hasOpenBeside(query) || this.#hasOpenStream ? readingOpen() : undefined;
  }

  #refuse(query: DriverQuery, scope: Scope, refusal: Error): void {
    scope.error ??= refusal;
    query.executed = true;
    this.refusedLate ||= this.#refusal !== undefined;
    whenSettled(query, ignore, ignore);
    query.reject(refusal);
  }

  #track(query: DriverQuery, scope: Scope, trusted: boolean): void {
    this.#running.add(query);
    this.#cursors.sent(query);
    onEnded(query, () => {
      this.#running.delete(query);
      this.#wake();
    });
    whenSettled(
      query,
      (result) => {
        if (!trusted && endsTransaction(result)) this.#startCheck(Promise.resolve());
      },
      (error) => {
        scope.error ??= error;
      },
    );
  }

  #trackStream(query: DriverQuery, stream: CopyStream, scope: Scope): void {
    this.#streams.add(stream);
    // An error of the server after the last byte was written: the driver tells it to the query only.
    const { reject } = query;
    query.reject = (error) => {
      stream.destroy(error instanceof Error ? error : new Error(String(error)));
      reject(error);
    };
    stream.once('error', (error) => {
      scope.error ??= error;
    });
    stream.once('close', () => {
      // One that was destroyed stays: what the server sends for it would be read as the answer to what follows.
      if (isComplete(stream)) this.#streams.delete(stream);
      this.#wake();
    });
  }

  #send(query: DriverQuery, send: DriverQuery['handler'], trusted: boolean): void {
    const pass = (): void => {
      if (this.#refusal === undefined) send(query);
      else query.reject(this.#refusal);
    };
    if (!trusted && mayEndTransaction(query)) {
      const sent = (this.#check ?? Promise.resolve()).then(
        () =>
          new Promise<void>((resolve) => {
            const settled = (): void => resolve();
            whenSettled(query, settled, settled);
            pass();
          }),
      );
      this.#startCheck(sent);
    } else if (this.#check === undefined) pass();
    else void this.#check.then(pass);
  }

  /** Checks, after `sent`, that the session is still inside the transaction. Statements wait meanwhile. */
  #startCheck(sent: Promise<void>): void {
    this.#checks += 1;
    this.#check = this.#runCheck(sent);
  }

  async #runCheck(sent: Promise<void>): Promise<void> {
    await sent;
    const inside = await this.#isInside();
    this.#checks -= 1;
    if (this.#checks === 0) this.#check = undefined;
    if (!inside) this.#abort(transactionEnded('a statement of the transaction ended it'));
    this.#wake();
  }

  async #isInside(): Promise<boolean> {
    if (this.#session.ended !== undefined) return false;
    const [row] = await this.#session.sql<{ id: string | null }[]>`
      select pg_catalog.pg_current_xact_id_if_assigned()::text as id`.catch((error: unknown) => [
      { id: codeOf(error) === inFailedTransaction ? this.#transactionId : null },
    ]);
    return row?.id === this.#transactionId;
  }

  #abortLeftOpen(): never {
    const error = leftOpen();
    this.#abort(error);
    this.#streams.forEach(discard);
    throw error;
  }

  /** Ends the session: the server rolls back, and no statement of the handler reaches it any more. */
  #abort(error: Error): void {
    this.#refusal = error;
    this.#fail(error);
    for (const query of this.#running) query.reject(error);
    void this.#session.retire();
  }
}
