/** Checks what an enqueue is given before the database sees it, and makes the JSON of its payload. */
import { types } from 'node:util';
import { JsonTooLongError, jsonWithin, maxReadCharacters } from '../bounded-text.ts';
import { messageOf, PurserError } from '../errors.ts';
import { groupFault, optionFault } from '../names.ts';

export interface EnqueueRequest {
  readonly tenantId: string;
  readonly jobType: string;
  readonly payload?: object;
  /** Unique per tenant and job type until the job has ended and `dedupWindowMs` from now have passed. */
  readonly dedupKey?: string | undefined;
  readonly dedupWindowMs?: number | undefined;
  /**
   * If the key is taken: `ignore` (default) returns the job that has it, `replace` gives that job the new payload,
   * time, priority and group if it is still waiting, `reject` throws `duplicate_job`.
   */
  readonly onDuplicate?: 'ignore' | 'replace' | 'reject' | undefined;
  readonly runAt?: Date | undefined;
  readonly priority?: number | undefined;
  /**
   * What the job shares a limit with, beside its tenant and its type, such as an end user, an upstream account or a
   * region: any visible text of 1 to 200 characters that does not end in `:*`. Default: nothing.
   */
  readonly group?: string | undefined;
}

/** Postgres cannot store NUL characters and lone surrogates. */
export function checkText(what: string, text: unknown): asserts text is string {
  // Callers in plain JavaScript have no type check.
  if (typeof text !== 'string') refuse(`${what} must be a string, not ${typeof text}`);
  if (text.length > maxReadCharacters) refuse(`${what} has ${text.length} characters: too many`);
  if (text.includes('\u0000') || !text.isWellFormed()) {
    throw new PurserError(
      'invalid_payload',
      `${what} contains a NUL character or half of a surrogate pair, which Postgres cannot store; remove it`,
      { details: { class: 'fatal' } },
    );
  }
}

const isInexact = (value: unknown): boolean =>
  typeof value === 'number' && Math.abs(value) > Number.MAX_SAFE_INTEGER;

/** Beyond 2^53 a double is not the number that was meant, here or where the handler reads it. */
function notExact(key: string): PurserError {
  return new PurserError(
    'invalid_payload',
    `payload field ${JSON.stringify(key)} is a number beyond ${Number.MAX_SAFE_INTEGER} (2^53 - 1), which a handler ` +
      'would not get exactly; pass it as a string',
    { details: { class: 'fatal' } },
  );
}

/** JSON.stringify would silently write null. */
function notFinite(key: string): PurserError {
  return new PurserError(
    'invalid_payload',
    `payload field ${JSON.stringify(key)} is not a finite number, which JSON cannot represent; omit the field or send a string`,
    { details: { class: 'fatal' } },
  );
}

function isWithoutJson(value: unknown): boolean {
  if (typeof value === 'function' || typeof value === 'symbol') return true;
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return false;
  const { isMap, isSet, isPromise, isRegExp, isNativeError } = types;
  return [isMap, isSet, isPromise, isRegExp, isNativeError].some((isOne) => isOne(value));
}

/** JSON.stringify would silently leave it out, or write {}. */
function notJson(key: string, value: unknown): PurserError {
  const what =
    typeof value === 'object' ? Object.prototype.toString.call(value).slice(8, -1) : typeof value;
  const where = key === '' ? 'the payload' : `payload field ${JSON.stringify(key)}`;
  return new PurserError(
    'invalid_payload',
    `${where} is a ${what}, which JSON cannot represent; pass plain objects, lists, strings and numbers`,
    { details: { class: 'fatal' } },
  );
}

function checkPayloadField(key: string, value: unknown): void {
  checkText('a payload key', key);
  if (typeof value === 'bigint' || isWithoutJson(value)) throw notJson(key, value);
  if (typeof value === 'string') checkText(`payload field ${JSON.stringify(key)}`, value);
  if (typeof value === 'number' && !Number.isFinite(value)) throw notFinite(key);
  if (isInexact(value)) throw notExact(key);
}

const maxPayloadBytes = 1_048_576;
/** Of all requests of one call: more than a statement can carry. */
export const maxRequestsCharacters = 256 * 1024 * 1024;

/**
 * The payload as JSON text. Throws `invalid_payload` for what JSON or Postgres cannot hold, and `payload_too_large`
 * before the text of a large one is made.
 */
export function serialise(payload: object, maxCharacters = maxPayloadBytes): string {
  try {
    return jsonWithin(payload, maxCharacters, checkPayloadField) ?? 'null';
  } catch (error) {
    if (error instanceof PurserError) throw error;
    if (error instanceof JsonTooLongError) {
      const limit =
        maxCharacters === maxPayloadBytes
          ? 'the payload has too many bytes: at most 1048576 (1 MiB) are taken'
          : `the payloads of one call have more than ${maxCharacters} characters; split the list`;
      throw new PurserError('payload_too_large', limit, { details: { class: 'fatal' } });
    }
    throw new PurserError('invalid_payload', `the payload is not JSON: ${messageOf(error)}`, {
      cause: error,
      details: { class: 'fatal' },
    });
  }
}

/** The payload as its job will read it: dates as text, toJSON applied. Throws like `serialise`. */
export function asStoredPayload(payload: unknown): object {
  const stored: unknown =
    payload !== null && typeof payload === 'object' ? JSON.parse(serialise(payload)) : undefined;
  if (stored === null || typeof stored !== 'object') {
    throw new PurserError('invalid_payload', 'the payload must be a JSON object', {
      details: { class: 'fatal' },
    });
  }
  return stored;
}

const maxDedupKeyLength = 500;
const maxPriority = 1_000;
const maxDedupWindowMs = 10 * 365 * 86_400_000;
/** Postgres does not read years of more than four digits. */
const lastRunAt = Date.UTC(9999, 0, 1);
/** The year 1: years before it have a sign. */
const firstRunAt = -62_135_596_800_000;

/** Whether a row can hold it as the time at which its job runs. */
export function isRunTime(value: unknown): value is Date {
  // `instanceof` asks a proxy.
  if (!types.isDate(value)) return false;
  const ms = value.getTime();
  return ms >= firstRunAt && ms < lastRunAt;
}

function refuse(fault: string): never {
  throw new PurserError('invalid_request', fault, { details: { class: 'fatal' } });
}

/** Of a child job, whose tenant is that of its parent. */
export const childOptions = ['dedupKey', 'runAt', 'priority', 'group'] as const;
/** Of each of many jobs, whose taken dedup keys are ignored. */
export const manyOptions = ['tenantId', 'jobType', 'payload', ...childOptions] as const;
export const requestOptions = [...manyOptions, 'dedupWindowMs', 'onDuplicate'] as const;

/** Throws `invalid_request` for an option that would be ignored. */
export function checkOptions(what: string, given: object, allowed: readonly string[]): void {
  const fault = optionFault(what, given, allowed);
  if (fault !== undefined) refuse(fault);
}

/** Throws `invalid_request` for values that a constraint of the table would refuse without a useful message. */
export function checkRequest(request: Omit<EnqueueRequest, 'tenantId'>): void {
  const { jobType, dedupKey, dedupWindowMs = 0, priority = 0, runAt, group } = request;
  checkText('the job type', jobType);
  if (!Number.isInteger(priority) || Math.abs(priority) > maxPriority) {
    refuse(`the priority must be a whole number from -${maxPriority} to ${maxPriority}`);
  }
  if (runAt !== undefined && !isRunTime(runAt)) {
    refuse('runAt must be a valid Date before the year 9999');
  }
  if (!(dedupWindowMs >= 0 && dedupWindowMs <= maxDedupWindowMs)) {
    refuse(`dedupWindowMs must be a number of milliseconds from 0 to ${maxDedupWindowMs}`);
  }
  const wrongGroup = group === undefined ? undefined : groupFault(group);
  if (wrongGroup !== undefined) refuse(wrongGroup);
  if (dedupKey === undefined) return;
  checkText('the dedup key', dedupKey);
  // Code points, as Postgres counts them.
  const length =
    dedupKey.length > 2 * maxDedupKeyLength ? dedupKey.length : Array.from(dedupKey).length;
  if (length < 1 || length > maxDedupKeyLength) {
    refuse(`the dedup key must have 1 to ${maxDedupKeyLength} characters; it has ${length}`);
  }
}
