/**
 * The driver's query object, as far as the guard intercepts it: when a statement is sent, when it has ended, and what
 * it leaves open. The driver sends a query lazily, by `handle`, and sets `active` to false whenever one has ended.
 */
import { Readable, Writable } from 'node:stream';
import { PurserError } from '../../errors.ts';

export interface DriverQuery {
  executed: boolean;
  active: boolean;
  readonly strings: readonly string[];
  /** Set once it is a part of another statement. */
  readonly fragment?: boolean;
  readonly options: { readonly simple?: boolean };
  /** Set for a cursor. */
  readonly cursorRows?: number;
  /** Starts the statement, once. */
  handle: () => Promise<void>;
  /** Gives the statement to the connection. */
  handler: ((query: DriverQuery) => unknown) & { debug?: unknown };
  resolve: (value: unknown) => void;
  reject: (error: unknown) => void;
  cancel: () => unknown;
  cursor: (...args: readonly unknown[]) => unknown;
}

/** Whether `value` is a query, and not an identifier or a list of values. */
export function isDriverQuery(value: unknown): value is DriverQuery {
  if (!(value instanceof Promise)) return false;
  if ('handle' in value && 'handler' in value && 'executed' in value) return true;
  throw new PurserError('driver_unknown', 'the database driver has no queries that can be guarded');
}

/** Like `then` of a promise; the driver's own `then` would send the statement. */
export function whenSettled(
  query: DriverQuery,
  done: (result: unknown) => void,
  failed: (error: unknown) => void,
): void {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion, unicorn/no-thenable -- a Promise by isDriverQuery
  void Promise.prototype.then.call(query as unknown as Promise<unknown>, done, failed);
}

/** Calls `ended` each time that the driver has ended the statement, also where its promise never settles (a cursor). */
export function onEnded(query: DriverQuery, ended: () => void): void {
  let active = false;
  Object.defineProperty(query, 'active', {
    get: () => active,
    set: (value: boolean) => {
      active = value;
      if (!value) ended();
    },
  });
}

/** Whether the statement's text may end the transaction. A comment can hide it; see `endsTransaction`. */
export function mayEndTransaction(query: DriverQuery): boolean {
  return query.strings.some((text) => endingText.test(text));
}

const endingText =
  /(?:^|;)(?:\s|--[^\n]*\n|\/\*[^]*?\*\/)*(?:commit|end|rollback|abort|prepare\s+transaction)\b/i;

/** Whether the command tags of a result include one that may have ended the transaction. */
export function endsTransaction(result: unknown): boolean {
  // Of one statement a list of rows with its tag, of several a list of such lists.
  const results: readonly unknown[] =
    Array.isArray(result) && !('command' in result) ? result : [result];
  return results.some(
    (each) =>
      each !== null &&
      typeof each === 'object' &&
      'command' in each &&
      endingTags.has(String(each.command)),
  );
}

const endingTags = new Set([
  'COMMIT',
  'ROLLBACK',
  'PREPARE TRANSACTION',
  'BEGIN',
  'START TRANSACTION',
]);

export type CopyStream = Readable | Writable;

export function isCopyStream(value: unknown): value is CopyStream {
  return value instanceof Readable || value instanceof Writable;
}

/** Whether the stream was read to its end, or `end` was called. */
export function isComplete(stream: CopyStream): boolean {
  return stream instanceof Writable ? stream.writableEnded : stream.readableEnded;
}

/** Lets the server send what is left, without keeping it, so that it can notice that the session ends. */
export function discard(stream: CopyStream): void {
  stream.on('error', () => {});
  if (stream instanceof Writable) stream.destroy(new Error('the COPY was not ended'));
  else {
    // The driver stops reading from its socket while `push` says that the stream is full.
    stream.push = () => true;
    stream._read(0);
  }
}
