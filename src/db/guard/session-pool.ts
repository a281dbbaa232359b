/**
 * Lends sessions to transactions, at most `max` at a time; borrowers take turns (turns.ts). A session comes back only
 * if its transaction ended in a verified state (`reusable`); otherwise it is retired and the next one opens a new one.
 */
import type { Session } from './session.ts';
import { Turns } from './turns.ts';
import type { Borrower } from './turns.ts';

/** An unused session is closed after this time. */
const idleMs = 60_000;
/** An older session is closed when it is returned. */
const maxAgeMs = 45 * 60_000;
const closeTimeoutMs = 5_000;

/** Code of Purser itself, not of an attempt. */
const nobody: Borrower = { name: '', keepsSession: false };

export class SessionPool {
  readonly #max: number;
  readonly #open: () => Promise<Session>;
  readonly #idle = new Map<Session, NodeJS.Timeout>();
  readonly #lent = new Set<Session>();
  readonly #turns: Turns<Session>;
  readonly #closing = new Set<Promise<void>>();
  #opening = 0;
  #closed = false;
  #onReturn: () => void = () => {};

  constructor(max: number, open: () => Promise<Session>) {
    this.#max = max;
    this.#open = open;
    this.#turns = new Turns(max);
  }

  /** Runs `fn` with a session that no other code uses meanwhile. */
  async use<T>(fn: (session: Session) => Promise<T>, borrower: Borrower = nobody): Promise<T> {
    if (this.#closed) throw connectionEnded();
    const session = await new Promise<Session>((resolve, reject) => {
      this.#turns.add({ borrower, resolve, reject });
      this.#serve();
    });
    try {
      if (this.#closed) throw connectionEnded();
      return await fn(session);
    } finally {
      this.#turns.returned(borrower);
      this.#return(session);
    }
  }

  /** Waits for lent sessions up to 5 s, then ends them. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const waiter of this.#turns.clear()) waiter.reject(connectionEnded());
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

  /** Gives the free sessions to those that wait. */
  #serve(): void {
    while (this.#idle.size > 0 || this.#mayOpen()) {
      const waiter = this.#turns.next();
      if (waiter === undefined) return;
      waiter.resolve(this.#takeIdle() ?? this.#openOne(waiter.borrower));
    }
  }

  /** The one that was used last. */
  #takeIdle(): Session | undefined {
    const idle = [...this.#idle.keys()].at(-1);
    if (idle === undefined) return undefined;
    clearTimeout(this.#idle.get(idle));
    this.#idle.delete(idle);
    this.#lent.add(idle);
    return idle;
  }

  async #openOne(borrower: Borrower): Promise<Session> {
    this.#opening += 1;
    try {
      const session = await this.#open();
      // Counted as lent before anything else can run.
      this.#lent.add(session);
      return session;
    } catch (error) {
      this.#turns.returned(borrower);
      throw error;
    } finally {
      this.#opening -= 1;
      this.#serve();
    }
  }

  #mayOpen(): boolean {
    const open = this.#idle.size + this.#lent.size + this.#opening + this.#closing.size;
    return open < this.#max && !this.#closed;
  }

  #return(session: Session): void {
    this.#lent.delete(session);
    const old = performance.now() - session.openedAtMs > maxAgeMs;
    if (this.#closed || session.ended !== undefined || !session.reusable || old) this.#end(session);
    else this.#keep(session);
    this.#serve();
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
      this.#serve();
    });
  }
}

function connectionEnded(): Error {
  return Object.assign(new Error('the pool of database sessions is closed'), {
    code: 'CONNECTION_ENDED',
  });
}
