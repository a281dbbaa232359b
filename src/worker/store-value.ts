/**
 * Makes what a handler returned or threw fit for jsonb: no NUL, no half surrogates, no cycles, bounded in
 * size. One bad result must never sink the statement that stores it.
 */
import { codeOf, messageOf } from '../errors.ts';
import { redactUrls } from '../log.ts';
import type { JobFault } from '../jobs/attempts.ts';

const maxResultBytes = 1_048_576;
const maxMessageLength = 4_000;
const maxStackLength = 8_000;
const replacement = '\uFFFD';

/** Text that Postgres can store: NUL and lone surrogates become U+FFFD. */
export function storableText(text: string, maxLength: number): string {
  const cut = text.length > maxLength ? `${text.slice(0, maxLength)} [cut at ${maxLength}]` : text;
  return cut.replaceAll('\u0000', replacement).toWellFormed();
}

/** A handler's result as a JSON value; what cannot be stored is replaced by a note that says why. */
export function storableResult(result: unknown): unknown {
  let text: string | undefined;
  try {
    text = JSON.stringify(result, (_key, value: unknown) =>
      typeof value === 'string' ? storableText(value, maxResultBytes) : value,
    );
  } catch (error) {
    return { purser: 'result not stored', reason: storableText(messageOf(error), 500) };
  }
  if (text === undefined) return null;
  const bytes = Buffer.byteLength(text);
  if (bytes > maxResultBytes) {
    return { purser: 'result not stored', reason: 'too large', bytes, limitBytes: maxResultBytes };
  }
  const clean = text.replaceAll('\\u0000', replacement).toWellFormed();
  return JSON.parse(clean);
}

/** The record of anything thrown: code, message, stack, without connection secrets. */
export function storableFault(thrown: unknown, details?: Record<string, unknown>): JobFault {
  const stack = thrown instanceof Error ? thrown.stack : undefined;
  return {
    code: storableText(codeOf(thrown), 100),
    message: storableText(redactUrls(messageOf(thrown)), maxMessageLength),
    ...(stack === undefined ? {} : { stack: storableText(redactUrls(stack), maxStackLength) }),
    ...(details === undefined ? {} : { details: storableResult(details) }),
  };
}
