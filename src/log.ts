/**
 * The logger of every role: JSON lines on stderr, a stable event name in `event`, secrets redacted by key.
 * stdout is only for the output of commands.
 */
import { readableStack, readableText } from './bounded-text.ts';
import { withoutLogins } from './connection-faults.ts';
import { isError, messageOf } from './errors.ts';
import { destination, pino, stdSerializers } from 'pino';
import type { DestinationStream, Logger as PinoLogger } from 'pino';

export type Logger = PinoLogger;

const secretKeys = [
  'password',
  'secret',
  'token',
  'apiKey',
  'api_key',
  'authorization',
  'credentials',
  'encryptionKey',
  'kdfSalt',
];

/**
 * Redacts `user:password@` and `?password=` in every URL inside a text: drivers put connection strings into
 * messages. A password may contain `@`. A text longer than `maxLength` is cut first, so that the time is bounded; a
 * URL that is cut is redacted whole.
 */
export function redactUrls(given: string, maxLength = Number.POSITIVE_INFINITY): string {
  const text = readableText(given);
  const isCut = text.length > maxLength;
  // The length limit of the scheme keeps the time linear in the length of the text.
  const redacted = (isCut ? text.slice(0, maxLength) : text)
    .replace(/([a-z][a-z0-9+.-]{0,30}:\/\/)[^\s/]+@/gi, '$1[redacted]@')
    .replace(/([?&]password=)[^\s&]+/gi, '$1[redacted]');
  if (!isCut) return redacted;
  const whole = redacted.replace(/([a-z][a-z0-9+.-]{0,30}:\/\/)[^\s/]*$/i, '$1[redacted]');
  return `${whole} [cut at ${maxLength}]`;
}

export interface LogOptions {
  readonly level: string;
  readonly role: string;
  readonly destination?: DestinationStream;
  /** Applied to every argument of a line, where these may have any size. */
  readonly bound?: (value: unknown) => unknown;
}

const maxMessageLength = 10_000;
const maxStackLength = 20_000;
const maxCodeLength = 200;
const maxCauses = 20;
/** Of lines that could not be written yet. */
const maxBufferedLength = 1_048_576;

/** stderr of this process. A line that cannot be written, such as on a full disk, is lost; `write` never throws. */
export function stderrDestination(): DestinationStream {
  const stream = destination({ fd: 2, sync: true, maxLength: maxBufferedLength });
  stream.on('error', () => {});
  return stream;
}

let sharedStderr: DestinationStream | undefined;

/**
 * Every line carries `role`. Levels are pino's (`debug` ... `fatal`, `silent`). Logging never throws: a line that
 * cannot be made is replaced by its event alone, and one that cannot be written is lost.
 */
export function createLogger(options: LogOptions): Logger {
  const { bound } = options;
  return pino(
    {
      level: options.level,
      base: { role: options.role },
      timestamp: () => `,"at":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
      messageKey: 'event',
      redact: {
        paths: secretKeys.flatMap((key) => [key, `*.${key}`, `*.*.${key}`]),
        censor: '[redacted]',
      },
      serializers: { error: serialiseError, err: serialiseError },
      hooks: {
        logMethod(values, method) {
          try {
            // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- as any list of arguments
            method.apply(this, (bound === undefined ? values : values.map(bound)) as typeof values);
          } catch {
            logEventAlone(values, (event) => method.call(this, { logFault: 'unreadable' }, event));
          }
        },
      },
    },
    options.destination ?? (sharedStderr ??= stderrDestination()),
  );
}

const codeText = (code: unknown): unknown =>
  typeof code === 'string'
    ? redactUrls(code, maxCodeLength)
    : typeof code === 'number'
      ? code
      : undefined;

function logEventAlone(values: readonly unknown[], write: (event: string) => void): void {
  try {
    const event = values.find((value) => typeof value === 'string');
    write(event ?? 'unreadable_line');
  } catch {
    // The destination refused it too.
  }
}

/** Also of its causes, whose stacks the serialiser adds. */
function hasReadableStacks(thrown: Error): boolean {
  let error: unknown = thrown;
  for (let depth = 0; depth < maxCauses && isError(error); depth += 1) {
    if (readableStack(error) === undefined) return false;
    error = error.cause;
  }
  return !isError(error);
}

function serialiseError(thrown: unknown): object {
  if (!isError(thrown)) return { message: redactUrls(messageOf(thrown), maxMessageLength) };
  if (!hasReadableStacks(thrown)) {
    return { type: 'Error', message: redactUrls(messageOf(thrown), maxMessageLength) };
  }
  const plain = stdSerializers.err(thrown);
  return {
    type: plain.type,
    code: 'code' in thrown ? codeText(thrown.code) : undefined,
    message: redactUrls(withoutLogins(plain.message, thrown), maxMessageLength),
    stack: redactUrls(withoutLogins(plain.stack, thrown), maxStackLength),
  };
}
