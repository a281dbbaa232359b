/**
 * Sends errors between threads and processes: anything that was thrown is packed as plain JSON, and unpacked as an
 * instance of the same class of Purser, so that both sides classify it alike.
 */
import { BudgetExceededError } from '../../budget/budget-exceeded.ts';
import { isError, JobTimeoutError, messageOf, PurserError, UsageError } from '../../errors.ts';
import { LlmError, LlmOutputError } from '../../llm/llm.ts';
import { maxReadCharacters, readableStack } from '../../bounded-text.ts';
import { boundedJson, cut, read } from '../../bounded-json.ts';

/** Makes an instance of each class; unpacking overwrites its fields. */
const blanks = {
  BudgetExceededError: () =>
    new BudgetExceededError({
      tenantId: '',
      limitNanoUsd: 0n,
      usedNanoUsd: 0n,
      reservedNanoUsd: 0n,
      neededNanoUsd: 0n,
      resetsAt: new Date(0),
    }),
  LlmOutputError: () => new LlmOutputError('', []),
  LlmError: () => new LlmError('', '', { class: 'retry', outcome: 'unknown' }),
  JobTimeoutError: () => new JobTimeoutError('', 0),
  UsageError: () => new UsageError(''),
  PurserError: () => new PurserError('', ''),
  Error: () => new Error(''),
};

type Kind = keyof typeof blanks;

/** Plain JSON of bounded size. */
export interface PackedError {
  readonly kind: Kind;
  readonly name: string;
  readonly message: string;
  readonly stack?: string;
  readonly cause?: PackedError;
  /** The other fields of its class; for a foreign error its code and status. */
  readonly fields: Readonly<Record<string, unknown>>;
  /** The fields that JSON cannot represent. */
  readonly refusal?: { readonly resetsAt: string | null; readonly neededNanoUsd: string };
}

const maxMessageLength = 10_000;
const maxStackLength = 20_000;
const maxCauses = 5;
/** The default limit of a provider's answer. */
const maxAnswerLength = 10 * 1024 * 1024;
const maxDetails = 100;
/** Approximate length of one detail's JSON. */
const maxDetailLength = 50_000;

/** Whether a message's value can be unpacked. */
export function isPackedError(value: unknown): value is PackedError {
  if (typeof value !== 'object' || value === null) return false;
  const { kind, name, message, fields, cause }: Partial<Record<keyof PackedError, unknown>> = value;
  return (
    typeof kind === 'string' &&
    Object.hasOwn(blanks, kind) &&
    typeof name === 'string' &&
    typeof message === 'string' &&
    typeof fields === 'object' &&
    fields !== null &&
    (cause === undefined || isPackedError(cause))
  );
}

/** Never throws. Fields that cannot be read are left out, or replaced by a note. */
export function packError(thrown: unknown): PackedError {
  return packCause(thrown, 0);
}

function packCause(thrown: unknown, depth: number): PackedError {
  try {
    return pack(thrown, depth);
  } catch {
    // Reading its fields throws.
    return {
      kind: 'PurserError',
      name: 'PurserError',
      message: 'something was thrown that cannot be read; throw an Error',
      fields: { code: 'unreadable_error' },
    };
  }
}

function pack(thrown: unknown, depth: number): PackedError {
  if (thrown === null || (typeof thrown !== 'object' && typeof thrown !== 'function')) {
    return {
      kind: 'Error',
      name: 'Error',
      message: cut(String(thrown), maxMessageLength),
      fields: {},
    };
  }
  const message = messageOf(thrown);
  const stack = stackOf(thrown);
  const cause = read(thrown, 'cause');
  return {
    kind: kindOf(thrown),
    name: cut(textOf(thrown, 'name') ?? 'Error', 200),
    message: cut(message, maxMessageLength),
    ...(stack === undefined ? {} : { stack: packStack(stack, message) }),
    ...(cause === undefined || depth >= maxCauses ? {} : { cause: packCause(cause, depth + 1) }),
    fields: fieldsOf(thrown),
    ...(thrown instanceof BudgetExceededError ? { refusal: refusalOf(thrown) } : {}),
  };
}

/** The most specific class of Purser: subclasses are tested first. */
function kindOf(thrown: object): Kind {
  if (thrown instanceof BudgetExceededError) return 'BudgetExceededError';
  if (thrown instanceof LlmOutputError) return 'LlmOutputError';
  if (thrown instanceof LlmError) return 'LlmError';
  if (thrown instanceof JobTimeoutError) return 'JobTimeoutError';
  if (thrown instanceof UsageError) return 'UsageError';
  return thrown instanceof PurserError ? 'PurserError' : 'Error';
}

function fieldsOf(thrown: object): Record<string, unknown> {
  const code = textOf(thrown, 'code');
  const status = numberOf(thrown, 'status') ?? numberOf(thrown, 'statusCode');
  const common = {
    ...(code === undefined ? {} : { code: cut(code, 200) }),
    ...(status === undefined ? {} : { status }),
  };
  if (!(thrown instanceof PurserError)) return common;
  const exitCode = numberOf(thrown, 'exitCode');
  const own = {
    ...common,
    ...(exitCode === undefined ? {} : { exitCode }),
    details: detailsOf(thrown),
  };
  if (thrown instanceof BudgetExceededError) return { ...own, fatal: thrown.fatal };
  if (!(thrown instanceof LlmOutputError)) return own;
  return {
    ...own,
    text: cut(thrown.text, maxAnswerLength),
    issues: thrown.issues.slice(0, 100).map((issue) => cut(issue, maxMessageLength)),
  };
}

/** Each is bounded separately, so that a huge one never displaces another, such as the class that decides the end. */
function detailsOf(thrown: object): Record<string, unknown> {
  const details = read(thrown, 'details');
  if (typeof details !== 'object' || details === null) return {};
  const keys = Object.keys(details).slice(0, maxDetails);
  return Object.fromEntries(
    keys.map((key) => [cut(key, 200), boundedJson(read(details, key), maxDetailLength)]),
  );
}

function refusalOf({ resetsAt, neededNanoUsd }: BudgetExceededError) {
  return { resetsAt: resetsAt?.toISOString() ?? null, neededNanoUsd: neededNanoUsd.toString() };
}

/** A stack begins with the whole message: the message is cut, the frames after it are kept. */
function packStack(stack: string, message: string): string {
  const isCut = message.length > maxMessageLength && stack.length <= maxReadCharacters;
  const at = isCut ? stack.indexOf(message) : -1;
  if (at < 0) return cut(stack, maxStackLength);
  const frames = stack.slice(at + message.length);
  return cut(`${stack.slice(0, at)}${cut(message, maxMessageLength)}${frames}`, maxStackLength);
}

function textOf(from: object, key: string): string | undefined {
  const value = read(from, key);
  return typeof value === 'string' ? value : undefined;
}

/** Not every object has one that V8 makes. */
function stackOf(thrown: object): string | undefined {
  if (!isError(thrown)) return textOf(thrown, 'stack');
  try {
    const stack: unknown = readableStack(thrown);
    return typeof stack === 'string' ? stack : undefined;
  } catch {
    return undefined;
  }
}

function numberOf(from: object, key: string): number | undefined {
  const value = read(from, key);
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined;
}

/** An instance of the same class with the same fields and the original stack. */
export function unpackError(packed: PackedError): Error {
  const error = blanks[packed.kind]();
  Object.assign(error, packed.fields);
  if (packed.refusal !== undefined) {
    const { resetsAt, neededNanoUsd } = packed.refusal;
    Object.assign(error, {
      resetsAt: resetsAt === null ? null : new Date(resetsAt),
      neededNanoUsd: BigInt(neededNanoUsd),
    });
  }
  const { name, message, stack = `${name}: ${message}` } = packed;
  const cause = packed.cause === undefined ? {} : { cause: unpackError(packed.cause) };
  for (const [key, value] of Object.entries({ name, message, stack, ...cause })) {
    Object.defineProperty(error, key, {
      value,
      enumerable: false,
      configurable: true,
      writable: true,
    });
  }
  return error;
}
