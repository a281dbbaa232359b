/**
 * One server session for tenant transactions. It is the only connection of its own driver pool, so the driver
 * cannot lend it again, and when the server session ends this object ends too: it is never reconnected. Sessions
 * are lent to one transaction at a time by SessionPool.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type postgres from 'postgres';
import { connect } from '../connect.ts';
import type { ConnectOptions } from '../connect.ts';
import { idleInTransactionMs } from './outage.ts';

/** COMMIT and ROLLBACK outside a transaction succeed with this warning. */
const noActiveTransaction = '25P01';
const closeTimeoutMs = 1_000;

export type SessionOptions = Omit<ConnectOptions, 'max' | 'onNotice' | 'onClose' | 'keepOpen'>;

export class Session {
  /** Statements go straight to the server, outside any guard. */
  readonly sql: postgres.ReservedSql;
  readonly login: string;
  readonly openedAtMs = performance.now();
  /** Set by a warning of the server that COMMIT or ROLLBACK met no transaction. */
  sawNoTransaction = false;
  /** Whether the next transaction may use the session. A transaction sets it after a verified COMMIT or ROLLBACK. */
  reusable = true;
  readonly #state: SessionState;
  readonly #driver: postgres.Sql;

  private constructor(driver: postgres.Sql, sql: postgres.ReservedSql, state: SessionState) {
    this.#driver = driver;
    this.#state = state;
    this.sql = sql;
    this.login = driver.options.user;
    state.onNotice = (code) => {
      if (code === noActiveTransaction) this.sawNoTransaction = true;
    };
  }

  static async open(url: string, options: SessionOptions): Promise<Session> {
    const state = new SessionState();
    const driver = connect(url, {
      ...options,
      max: 1,
      keepOpen: true,
      onNotice: (code) => state.onNotice(code),
      onClose: () => state.close(),
    });
    try {
      return new Session(driver, await driver.reserve(), state);
    } catch (error) {
      // The driver would connect again for the failed reservation.
      void driver.end({ timeout: 0 });
      throw error;
    }
  }

  get ended(): Error | undefined {
    return this.#state.ended;
  }

  /** Calls `listener` when the session ends, at once if it has. Replaces the previous listener. */
  onEnd(listener: (error: Error) => void): void {
    this.#state.listen(listener);
  }

  /**
   * Ends the session at once; the server rolls back what was not committed. Resolves when the server has closed the
   * connection, which frees its locks, or after 1 s.
   */
  async retire(): Promise<void> {
    this.reusable = false;
    this.#state.end();
    void this.#driver.end({ timeout: 0 });
    const timeout = new AbortController();
    const late = sleep(closeTimeoutMs, undefined, { signal: timeout.signal }).catch(() => {});
    await Promise.race([this.#state.closed, late]);
    timeout.abort();
  }
}

class SessionState {
  ended: Error | undefined;
  readonly closed: Promise<void>;
  onNotice: (code: string) => void = () => {};
  #closed: () => void = () => {};
  #listener: (error: Error) => void = () => {};

  constructor() {
    this.closed = new Promise((resolve) => {
      this.#closed = resolve;
    });
  }

  listen(listener: (error: Error) => void): void {
    this.#listener = listener;
    if (this.ended !== undefined) listener(this.ended);
  }

  end(): void {
    if (this.ended !== undefined) return;
    const code = 'CONNECTION_CLOSED';
    const idleSeconds = idleInTransactionMs / 1_000;
    this.ended = Object.assign(
      new Error(
        'the database session has ended; the server ends a transaction that waits for more than ' +
          `${idleSeconds} s between two statements, or that blocks the fleet`,
      ),
      { code },
    );
    this.#listener(this.ended);
  }

  close(): void {
    this.#closed();
    this.end();
  }
}
