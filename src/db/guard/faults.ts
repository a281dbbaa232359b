/** What a handler can do wrong with the statements of its transaction. */
import { PurserError } from '../../errors.ts';

export function transactionEnded(message: string): PurserError {
  return new PurserError('transaction_ended', message);
}

export function leftOpen(): PurserError {
  return new PurserError(
    'statement_left_open',
    'the function of ctx.sql.begin returned while a cursor or COPY stream was open; read or end it first',
  );
}

export function notAwaited(what: string): PurserError {
  return new PurserError(
    'statement_not_awaited',
    `${what}; await every statement and savepoint in the function of ctx.sql.begin`,
  );
}

export function outsideSavepoint(): PurserError {
  return new PurserError(
    'savepoint_open',
    'a statement or savepoint was issued outside of a savepoint that was open; it would be undone with it. In the ' +
      'function of tx.savepoint use the transaction that it gets, and await each savepoint before what follows it',
  );
}

export function readingOpen(): PurserError {
  return new PurserError(
    'cursor_open',
    'a statement was issued while a cursor or COPY stream of its transaction was open, and would wait for it without ' +
      'end; read it to its end or leave it first. To write while reading, read in pages (where id > ${last} limit 1000)',
  );
}
