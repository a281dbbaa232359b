/**
 * Which tenant transaction the running code is inside of. A second one is refused there: it would wait for another
 * session while its own transaction keeps this one, so that attempts of one thread would wait for each other.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { PurserError } from '../../errors.ts';
import type { Tx } from '../connect.ts';

export interface Entered {
  readonly token: string;
  readonly tx: Tx;
  /** Code that the transaction left running stays inside of it; it may begin another one after its end. */
  isOpen: boolean;
  /** Of a savepoint: what it is in. */
  readonly outer?: Entered | undefined;
}

const entered = new AsyncLocalStorage<Entered>();

export const runInside = <T>(transaction: Entered, fn: () => Promise<T>): Promise<T> =>
  entered.run(transaction, fn);

/** Runs the function of a savepoint, whose statements are those of `tx`. */
export async function runInSavepoint<T>(tx: Tx, fn: () => Promise<T>): Promise<T> {
  const outer = innermostOpen();
  if (outer === undefined) return fn();
  const savepoint: Entered = { token: outer.token, tx, isOpen: true, outer };
  try {
    return await runInside(savepoint, fn);
  } finally {
    savepoint.isOpen = false;
  }
}

function innermostOpen(): Entered | undefined {
  let each = entered.getStore();
  while (each?.isOpen === false) each = each.outer;
  return each;
}

/** The transaction, or savepoint, of this token that the calling code is inside of; undefined outside of any. */
export function openTransaction(token: string): Tx | undefined {
  const open = innermostOpen();
  return open?.token === token ? open.tx : undefined;
}

/** Throws `nested_transaction`, or `nested_tenant` inside a transaction of another token, where code is inside one. */
export function refuseNested(token: string): void {
  const open = innermostOpen();
  if (open === undefined) return;
  if (open.token !== token) {
    throw new PurserError(
      'nested_tenant',
      'a tenant transaction was begun inside one of another context; end the first before the second',
    );
  }
  throw new PurserError(
    'nested_transaction',
    'ctx.sql was used inside ctx.sql.begin; use the transaction that its function gets: ' +
      'ctx.sql.begin(async (tx) => { await tx`...` }), and tx.savepoint for a part that may roll back',
    { details: { class: 'fatal' } },
  );
}
