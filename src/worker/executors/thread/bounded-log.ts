/** A logger for code that may log values of any size: they are cut before the logger makes a line of them. */
import { types } from 'node:util';
import { boundedJson, cut } from '../../../bounded-json.ts';
import {
  jsonWithin,
  maxReadCharacters,
  readableStack,
  readableText,
} from '../../../bounded-text.ts';
import { isError, messageOf, PurserError } from '../../../errors.ts';
import type { Logger } from '../../../log.ts';

/** Larger fields are cut one by one. */
const maxFieldsLength = 1_000_000;
const maxCutLength = 10_000;
const maxFields = 1_000;

/** An argument of a line, or a field of one. */
export function boundedLogValue(value: unknown): unknown {
  if (typeof value === 'string') return readableText(value);
  if (types.isStringObject(value)) return readableText(String.prototype.valueOf.call(value));
  if (value === null || typeof value !== 'object') return value;
  if (isError(value)) return boundedError(value);
  if (fits(value)) return value;
  if (Array.isArray(value) || ArrayBuffer.isView(value)) return boundedJson(value, maxCutLength);
  const fields = Object.entries(value).map(([key, field]) => [
    cut(key, maxCutLength),
    isError(field) ? boundedError(field) : boundedJson(field, maxCutLength),
  ]);
  return Object.fromEntries(fields.slice(0, maxFields));
}

/** Makes its children bounded too; `createLogger` bounds the arguments of a line by `bound: boundedLogValue`. */
export function withBoundedBindings(logger: Logger): Logger {
  // Called with the logger or child that is asked.
  // oxlint-disable-next-line typescript/unbound-method
  const { child, setBindings } = logger;
  return Object.assign(logger, {
    child(this: Logger, bindings: unknown, options?: object) {
      return Reflect.apply(child, this, [boundedBindings(bindings), options]);
    },
    setBindings(this: Logger, bindings: unknown) {
      return Reflect.apply(setBindings, this, [boundedBindings(bindings)]);
    },
  });
}

function boundedBindings(bindings: unknown): object {
  try {
    if (bindings !== null && typeof bindings === 'object') return Object(boundedLogValue(bindings));
  } catch {
    // A getter or a proxy of the handler threw.
  }
  throw new PurserError(
    'invalid_argument',
    'ctx.log.child: the bindings must be an object of plain values',
  );
}

function fits(value: object): boolean {
  try {
    jsonWithin(value, maxFieldsLength);
    return true;
  } catch {
    return false;
  }
}

/** The logger itself cuts the code, the message and the stack of an error that it knows as one and can read. */
function boundedError(error: Error): Error {
  const message: unknown = error.message;
  const isShort = typeof message === 'string' && message.length <= maxReadCharacters;
  if (isShort && error instanceof Error) return error;
  const own = new Error(readableText(messageOf(error)));
  return isShort ? Object.assign(own, { stack: readableStack(error) }) : own;
}
