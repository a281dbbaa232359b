/**
 * One server session for tenant transactions. It is the only connection of its own driver pool, so the driver can
 * give it to nobody else, and when the server session ends this object ends too: it is never reconnected. Sessions
 * are lent to one transaction at a time by SessionPool.
 */
import type postgres from 'postgres';
import { connect } from '../connect.ts';
import type { ConnectOptions } from '../connect.ts';

/** COMMIT and ROLLBACK outside a transaction succeed with this warning. */
const noActiveTransaction = '25P01';

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
      onClose: () => state.end(connectionClosed()),
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

  /** Ends the session without waiting for the server, which rolls back what was not committed. */
  async retire(): Promise<void> {
    this.reusable = false;
    this.#state.end(connectionClosed());
    await this.#driver.end({ timeout: 0 });
  }
}

class SessionState {
  ended: Error | undefined;
  onNotice: (code: string) => void = () => {};
  #listener: (error: Error) => void = () => {};

  listen(listener: (error: Error) => void): void {
    this.#listener = listener;
    if (this.ended !== undefined) listener(this.ended);
  }

  end(error: Error): void {
    if (this.ended !== undefined) return;
    this.ended = error;
    this.#listener(error);
  }
}

function connectionClosed(): Error {
  return Object.assign(new Error('the database session has ended'), { code: 'CONNECTION_CLOSED' });
}
