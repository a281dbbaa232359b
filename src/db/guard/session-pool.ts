/**
 * Lends sessions to transactions, at most `max` at a time, in the order of the requests. A session comes back only
 * if its transaction ended in a verified state (`reusable`); otherwise it is retired and the next one opens a new one.
 */
import type { Session } from './session.ts';

/** An unused session is closed after this time. */
const idleMs = 60_000;
/** An older session is closed when it is returned. */
const maxAgeMs = 45 * 60_000;
const closeTimeoutMs = 5_000;

interface Waiter {
  readonly resolve: (session: Session | Promise<Session>) => void;
  readonly reject: (error: Error) => void;
}

export class SessionPool {
  readonly #max: number;
  readonly #open: () => Promise<Session>;
  readonly #idle = new Map<Session, NodeJS.Timeout>();
  readonly #lent = new Set<Session>();
  readonly #waiting: Waiter[] = [];
  readonly #closing = new Set<Promise<void>>();
  #opening = 0;
  #closed = false;
  #onReturn: () => void = () => {};

  constructor(max: number, open: () => Promise<Session>) {
    this.#max = max;
    this.#open = open;
  }

  /** Runs `fn` with a session that no other code uses meanwhile. */
  async use<T>(fn: (session: Session) => Promise<T>): Promise<T> {
    const session = await this.#take();
    this.#lent.add(session);
    try {
      if (this.#closed) throw connectionEnded();
      return await fn(session);
    } finally {
      this.#return(session);
    }
  }

  /** Waits for lent sessions up to 5 s, then ends them. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const waiter of this.#waiting.splice(0)) waiter.reject(connectionEnded());
    for (const session of this.#idle.keys()) this.#discardIdle(session);
    if (this.#lent.size > 0) {
      let timer: NodeJS.Timeout | undefined;
      await new Promise<void>((resolve) => {
        timer = setTimeout(resolve, closeTimeoutMs);
        this.#onReturn = () => {
          if (this.#lent.size === 0) resolve();
        };
      });
      clearTimeout(timer);
    }
    for (const session of this.#lent) this.#end(session);
    await Promise.all(this.#closing);
  }

  async #take(): Promise<Session> {
    if (this.#closed) throw connectionEnded();
    const idle = [...this.#idle.keys()].at(-1);
    if (idle !== undefined) {
      clearTimeout(this.#idle.get(idle));
      this.#idle.delete(idle);
      return idle;
    }
    if (this.#mayOpen()) return this.#openOne();
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  async #openOne(): Promise<Session> {
    this.#opening += 1;
    try {
      const session = await this.#open();
      // Counted as lent before anything else can run.
      this.#lent.add(session);
      return session;
    } finally {
      this.#opening -= 1;
      this.#openForWaiter();
    }
  }

  #mayOpen(): boolean {
    const open = this.#idle.size + this.#lent.size + this.#opening + this.#closing.size;
    return open < this.#max && !this.#closed;
  }

  #openForWaiter(): void {
    if (this.#waiting.length > 0 && this.#mayOpen()) {
      this.#waiting.shift()?.resolve(this.#openOne());
    }
  }

  #return(session: Session): void {
    this.#lent.delete(session);
    const old = performance.now() - session.openedAtMs > maxAgeMs;
    if (this.#closed || session.ended !== undefined || !session.reusable || old) {
      this.#end(session);
    } else {
      const waiter = this.#waiting.shift();
      if (waiter === undefined) this.#keep(session);
      else {
        this.#lent.add(session);
        waiter.resolve(session);
      }
    }
    this.#onReturn();
  }

  #keep(session: Session): void {
    const timer = setTimeout(() => this.#discardIdle(session), idleMs);
    timer.unref();
    this.#idle.set(session, timer);
    session.onEnd(() => this.#discardIdle(session));
  }

  #discardIdle(session: Session): void {
    clearTimeout(this.#idle.get(session));
    this.#idle.delete(session);
    this.#end(session);
  }

  /** The session counts until the server has closed it. */
  #end(session: Session): void {
    session.onEnd(() => {});
    const closing = session.retire();
    this.#closing.add(closing);
    void closing.finally(() => {
      this.#closing.delete(closing);
      this.#openForWaiter();
    });
  }
}

function connectionEnded(): Error {
  return Object.assign(new Error('the pool of database sessions is closed'), {
    code: 'CONNECTION_ENDED',
  });
}
