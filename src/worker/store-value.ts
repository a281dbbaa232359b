/**
 * Converts what a handler returned or threw to JSON that Postgres can store: no NUL, no lone surrogates, no cycles,
 * bounded size and depth. One bad value must not fail the statement that stores a whole batch.
 */
import { types } from 'node:util';
import { JsonTooLongError, jsonWithin, readableStack, readableText } from '../bounded-text.ts';
import { isError, messageOf, PurserError } from '../errors.ts';
import { redactUrls } from '../log.ts';
import type { JobFault } from '../jobs/attempts.ts';
import { failureCode } from './failure-code.ts';

const maxResultBytes = 1_048_576;
/** Of a larger result neither the size is measured nor the beginning kept. */
const maxMeasuredCharacters = 4 * maxResultBytes;
const keptOfHugeResult = 10_000;
const cutMark = 'result cut';
const maxMessageLength = 4_000;
const maxStackLength = 8_000;
const replacement = '\uFFFD';

/** Text that Postgres can store: NUL and lone surrogates become U+FFFD. */
export function storableText(whole: string, maxLength: number): string {
  const text = readableText(whole);
  const cut = text.length > maxLength ? `${text.slice(0, maxLength)} [cut at ${maxLength}]` : text;
  return cut.replaceAll('\u0000', replacement).toWellFormed();
}

/** Postgres refuses JSON that is nested some thousand levels deep. */
const maxDepth = 100;

/** Keys and values that Postgres can store. Throws when nested too deep. */
function storableJson(value: unknown, depth: number): unknown {
  if (typeof value === 'string') return storableText(value, maxResultBytes);
  if (value === null || typeof value !== 'object') return value;
  if (depth >= maxDepth) throw new Error(`nested more than ${maxDepth} levels deep`);
  if (Array.isArray(value)) return value.map((item) => storableJson(item, depth + 1));
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [
      storableText(key, maxResultBytes),
      storableJson(item, depth + 1),
    ]),
  );
}

/** Any JSON below this is within the limit, whatever Postgres adds to it. */
const surelySmallBytes = 3_000;
const jsonTexts = /"[^"\\]*(?:\\.[^"\\]*)*"/g;

/** Size of JSON as Postgres writes a jsonb value: with blanks after separators and numbers without exponent. */
function storedBytes(json: string): number {
  const bytes = Buffer.byteLength(json);
  if (bytes < surelySmallBytes || bytes > maxResultBytes) return bytes;
  const structure = json.replace(jsonTexts, '');
  const separators = structure.length - structure.replaceAll(/[,:]/g, '').length;
  let digits = 0;
  for (const [, exponent] of structure.matchAll(/e[+-](\d+)/g)) digits += Number(exponent);
  return bytes + separators + digits;
}

/** JSON writes null for numbers that are not finite and for invalid dates, as the driver reads 'infinity'. */
function nullAsText(item: unknown, original: unknown): unknown {
  if (typeof item === 'number' && !Number.isFinite(item)) return String(item);
  return item === null && types.isDate(original) ? 'Invalid Date' : item;
}

/** A handler's result as a JSON value; a value that cannot be stored is replaced by a note with the reason. */
export function storableResult(result: unknown): unknown {
  if (result === null || typeof result === 'boolean') return result;
  try {
    const text = jsonWithin(result, maxMeasuredCharacters, undefined, nullAsText);
    if (text === undefined) return null;
    const bytes = storedBytes(text);
    if (bytes > maxResultBytes) {
      return {
        purser: cutMark,
        reason: 'too large',
        bytes,
        limitBytes: maxResultBytes,
        start: storableText(text, keptOfHugeResult),
      };
    }
    return storableJson(JSON.parse(text), 0);
  } catch (error) {
    if (error instanceof JsonTooLongError) {
      return { purser: cutMark, reason: 'too large', limitBytes: maxResultBytes };
    }
    return { purser: 'result not stored', reason: storableText(messageOf(error), 500) };
  }
}

/** Cut before it is redacted: redacting a message of 10 MB would take longer than many timeouts. */
const redactedText = (text: string, maxLength: number): string =>
  storableText(redactUrls(text, maxLength), 2 * maxLength);

/** A stored result without the beginning that is kept of one that was too large. */
export function withoutStart(stored: unknown): unknown {
  if (stored === null || typeof stored !== 'object') return stored;
  if (Reflect.get(stored, 'purser') !== cutMark || !('start' in stored)) return stored;
  const { start: _start, ...rest } = stored;
  return rest;
}

/** The record of anything thrown: code, message, stack, without connection secrets. */
export function storableFault(thrown: unknown, details?: Record<string, unknown>): JobFault {
  const stack = isError(thrown) ? readableStack(thrown) : undefined;
  return {
    code: storableText(failureCode(thrown), 100),
    message: redactedText(messageOf(thrown), maxMessageLength),
    ...(stack === undefined ? {} : { stack: redactedText(stack, maxStackLength) }),
    ...(details === undefined ? {} : { details: storableResult(details) }),
  };
}

/** `thrown` itself, or an error of ours in its place when its fields cannot be read or are no text. */
export function readableThrown(thrown: unknown): unknown {
  try {
    storableFault(thrown);
    return thrown;
  } catch {
    return new PurserError(
      'unreadable_error',
      'the handler threw something whose message or stack cannot be read; throw an Error',
    );
  }
}
