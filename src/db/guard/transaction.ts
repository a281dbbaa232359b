/**
 * A transaction with its own BEGIN and COMMIT on a session that it has alone. It resolves only after the server has
 * answered COMMIT to a transaction that is the one that was begun; on any doubt the session is ended, so that the
 * server rolls back.
 */
import type postgres from 'postgres';
import { codeOf, PurserError } from '../../errors.ts';
import type { Tx } from '../connect.ts';
import { asBacklogFull } from './backlog-full.ts';
import { isReadOnly } from '../read-only-sessions.ts';
import type { Session } from './session.ts';
import { isDriverQuery } from './statement.ts';
import { runInSavepoint } from './nesting.ts';
import { notAwaited, outsideSavepoint, transactionEnded } from './faults.ts';
import { Scope } from './scope.ts';
import { Statements } from './statements.ts';

/** Which transaction it is. A COMMIT and BEGIN in between change the id, a pooler's other server the process. */
export interface Identity {
  /** Assigned at BEGIN: unassigned ids are equal before and after. */
  readonly xid: string | null;
  readonly pid: number;
}

export interface Steps<T> {
  /** Sends BEGIN and what the transaction needs, and reads its identity. */
  readonly enter: (sql: postgres.ReservedSql) => Promise<Identity>;
  readonly body: (tx: Tx) => Promise<T>;
  /** The last statement before COMMIT. Reads the identity again, or returns undefined where it was another one. */
  readonly fence: (
    sql: postgres.ReservedSql,
    value: T,
    identity: Identity,
  ) => Promise<Identity | undefined>;
  /** Called with the error of a savepoint, also when the transaction goes on after it. */
  readonly onSavepointError: (error: unknown) => void;
}

const inFailedTransaction = '25P02';

export async function runTransaction<T>(session: Session, steps: Steps<T>): Promise<T> {
  session.reusable = false;
  session.sawNoTransaction = false;
  const lost = new Promise<never>((_, reject) => session.onEnd(reject));
  const identity = await Promise.race([steps.enter(session.sql), lost]);
  const statements = new Statements(session, identity.xid ?? '');
  const own = <R>(work: Promise<R>): Promise<R> => Promise.race([work, statements.ended]);
  try {
    const scope = new Scope();
    const tx = transactionSql(session, statements, scope, steps.onSavepointError);
    const value = await own(
      runScope(scope, async () => {
        const result = await settled(await steps.body(tx));
        await statements.drain();
        return result;
      }),
    );
    const fenced = await own(steps.fence(session.sql, value, identity));
    if (fenced?.xid !== identity.xid || fenced.pid !== identity.pid) {
      throw transactionEnded('the transaction at its fence is not the one that was begun');
    }
    if (statements.refusedLate) throw notAwaited('a statement was issued too late');
    const { command } = await own(session.sql`commit`.then((result) => result));
    if (command !== 'COMMIT' || session.sawNoTransaction) {
      throw transactionEnded(`COMMIT was answered by ${command}: nothing was committed`);
    }
    session.reusable = statements.reusable;
    return value;
  } catch (error) {
    statements.close();
    await rollBack(session, statements);
    // The server became read-only, such as the old primary after a failover: the next session may reach the new one.
    if (isReadOnly(error)) session.reusable = false;
    throw asBacklogFull(error) ?? error;
  }
}

/** Leaves the session reusable only where the server has rolled back. */
async function rollBack(session: Session, statements: Statements): Promise<void> {
  if (session.ended !== undefined) return;
  try {
    await statements.drain();
    const { command } = await Promise.race([
      session.sql`rollback`.then((result) => result),
      statements.ended,
    ]);
    session.reusable = command === 'ROLLBACK' && !session.sawNoTransaction && statements.reusable;
  } catch {
    await session.retire();
  }
}

/** Throws the first error of the scope's statements, also where the body ignored it. */
async function runScope<T>(scope: Scope, body: () => Promise<T>): Promise<T> {
  try {
    const value = await body();
    if (scope.error !== undefined) throw scope.error;
    scope.assertEnded();
    return value;
  } catch (error) {
    throw codeOf(error) === inFailedTransaction ? (scope.error ?? error) : error;
  }
}

/** The object that the handler gets: the driver's, with every statement guarded. */
function transactionSql(
  session: Session,
  statements: Statements,
  scope: Scope,
  onSavepointError: (error: unknown) => void,
): Tx {
  const { sql } = session;
  const guarded = <Q>(query: Q): Q => {
    if (isDriverQuery(query)) statements.guard(query, scope);
    return query;
  };
  const trusted = async (query: unknown): Promise<void> => {
    if (isDriverQuery(query)) statements.guard(query, new Scope(), true);
    await query;
  };
  const tag = (...args: readonly unknown[]): unknown =>
    guarded(Reflect.apply(sql, undefined, args));
  const savepoint = async (...args: readonly unknown[]): Promise<unknown> => {
    const [name, body] = typeof args[0] === 'string' ? [args[0], args[1]] : ['', args[0]];
    if (typeof body !== 'function') throw new TypeError('a savepoint needs a function');
    if (scope.isInSavepoint) throw outsideSavepoint();
    statements.assertNothingOpen();
    scope.isInSavepoint = true;
    try {
      const id = statements.nextSavepoint(name);
      await trusted(sql`savepoint ${sql(id)}`);
      const inner = new Scope();
      const tx = transactionSql(session, statements, inner, onSavepointError);
      try {
        return await runScope(inner, () =>
          runInSavepoint(tx, async (): Promise<unknown> => settled(await body(tx))),
        );
      } catch (error) {
        onSavepointError(error);
        statements.closeCursors();
        await trusted(sql`rollback to ${sql(id)}`);
        throw error;
      }
    } finally {
      scope.isInSavepoint = false;
    }
  };
  const members = {
    types: sql.types,
    typed: sql.typed,
    json: (...args: Parameters<typeof sql.json>) => sql.json(...args),
    array: (...args: Parameters<typeof sql.array>) => sql.array(...args),
    unsafe: (...args: Parameters<typeof sql.unsafe>) => guarded(sql.unsafe(...args)),
    file: (...args: Parameters<typeof sql.file>) => guarded(sql.file(...args)),
    // The driver's own would run outside the transaction.
    notify: (channel: string, payload: string) =>
      guarded(sql`select pg_catalog.pg_notify(${channel}, ${payload})`),
    savepoint,
    prepare: () => {
      throw new PurserError('transaction_ended', 'a transaction of a tenant cannot be prepared');
    },
  };
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- all members of the type, which is overloaded
  return Object.assign(tag, members) as unknown as Tx;
}

/** Awaits the statements of a list, as the driver does with what the function of its own `begin` returns. */
async function settled<T>(value: T): Promise<T> {
  if (!Array.isArray(value) || !value.some((each) => each instanceof Promise)) return value;
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- with the results in place of the statements
  return (await Promise.all(value)) as T;
}
