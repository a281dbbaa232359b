/**
 * Reads single values of a cost export. Decimals stay texts, so that no cost passes through a float; a value that
 * cannot be read gives a reason that says how to correct it.
 */
import { z } from 'zod';
import { spreadsheetFault } from '../../spreadsheet-ids.ts';

/** A value, or the reason why it cannot be read. */
export type Reading = { readonly value: string } | { readonly reason: string };

/** The beginning of a text from a file as a message can contain it and Postgres can store it. */
export function printable(text: string, maxLength = 200): string {
  return text.slice(0, maxLength).replaceAll(/[\p{Cc}\p{Surrogate}]/gu, '?');
}

/** A value as a reason quotes it: shortened and printable. */
export function shown(text: string): string {
  return `"${printable(text, 40)}${text.length > 40 ? '...' : ''}"`;
}

const decimalPattern = /^[+-]?(?:(\d+)(?:\.(\d*))?|\.(\d+))(?:[eE]([+-]?\d{1,4}))?$/;
export const isDecimal = (text: string): boolean => decimalPattern.test(text);
const maxIntegerDigits = 20;
const maxFractionDigits = 60;

/**
 * An exact decimal as Postgres NUMERIC reads it, exponent forms included: `-1.50`, `4e-10`.
 * At most 20 digits before and 60 after the decimal point: 1e400 is a fault, not a number of 400 digits.
 */
export function readDecimal(text: string): Reading {
  const match = decimalPattern.exec(text);
  if (match === null) {
    return {
      reason: `${shown(text)} is not a decimal number; write it like -1234.56, without currency sign or thousands separators`,
    };
  }
  const [, whole = '', fraction = match[3] ?? '', , exponentText = '0'] = match;
  const exponent = Number(exponentText);
  const significant = whole.replace(/^0+/, '');
  const isZero = /^[0.]*$/.test(whole + fraction);
  if (!isZero && significant.length + exponent > maxIntegerDigits) {
    return { reason: `${shown(text)} has more than ${maxIntegerDigits} digits before the point` };
  }
  if (fraction.length - exponent > maxFractionDigits || text.length > 100) {
    return { reason: `${shown(text)} has more than ${maxFractionDigits} digits after the point` };
  }
  return { value: isZero && exponent > 0 ? '0' : text };
}

interface Scaled {
  readonly digits: bigint;
  /** Number of digits after the decimal point. */
  readonly scale: number;
}

function scaled(text: string): Scaled | null {
  const match = decimalPattern.exec(text);
  if (match === null || 'reason' in readDecimal(text)) return null;
  const [, whole = '', fraction = match[3] ?? '', , exponent = '0'] = match;
  const magnitude = BigInt(whole + fraction);
  const digits = text.startsWith('-') ? -magnitude : magnitude;
  return { digits, scale: fraction.length - Number(exponent) };
}

/**
 * Exact `a + b` or `a - b`. If one of them is not a decimal, that text is returned, so that reading it gives the
 * reason.
 */
export function sumDecimals(a: string, b: string, sign: 1 | -1): string {
  const [left, right] = [scaled(a), scaled(b)];
  if (left === null) return a;
  if (right === null) return b;
  const scale = Math.max(left.scale, right.scale, 0);
  const at = ({ digits, scale: own }: Scaled): bigint => digits * 10n ** BigInt(scale - own);
  const sum = at(left) + BigInt(sign) * at(right);
  const text = (sum < 0n ? -sum : sum).toString().padStart(scale + 1, '0');
  const cut = text.length - scale;
  return `${sum < 0n ? '-' : ''}${text.slice(0, cut)}${scale === 0 ? '' : `.${text.slice(cut)}`}`;
}

const timestampPattern =
  /^(\d{4})-(\d{2})-(\d{2})(?:[T ](\d{2}):(\d{2})(?::(\d{2})(?:\.\d{1,9})?)?(?:\s?(Z|UTC|[+-]\d{2}(?::?\d{2})?))?)?$/;

const isoLength = '2024-09-01T00:00:00.000Z'.length;

/** The reason for a text that is no instant. */
export function notATimestamp(text: string): string {
  return `${shown(text)} is not a date and time; write it like 2024-09-01T00:00:00Z`;
}

/**
 * An instant as ISO 8601 UTC, to the second. Accepts `2024-09-01`, `2024-09-01 00:00:00` and ISO forms with Z or an
 * offset; without a zone it is UTC, as FOCUS requires.
 */
export function readTimestamp(text: string): Reading {
  const match = timestampPattern.exec(text);
  const fault = { reason: notATimestamp(text) };
  if (match === null) return fault;
  const [, year, month, day, hour = '00', minute = '00', second = '00', zone = 'Z'] = match;
  const utc = new Date(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
  if (Number.isNaN(utc.getTime()) || utc.getUTCDate() !== Number(day) || Number(year) < 1900) {
    return fault;
  }
  const sign = zone.startsWith('-') ? 1 : -1;
  const [, hours = '0', minutes = '0'] = /^[+-](\d{2}):?(\d{2})?$/.exec(zone) ?? [];
  if (Number(hours) > 15 || Number(minutes) > 59) return fault;
  const offsetMs = sign * (Number(hours) * 60 + Number(minutes)) * 60_000;
  const value = new Date(utc.getTime() + offsetMs).toISOString();
  // The year 10000 has a sign, which Postgres does not read.
  return value.length === isoLength ? { value } : fault;
}

/** The codes of ISO 4217 that this Node has, and one that its list does not contain. */
const currencies = new Set([...Intl.supportedValuesOf('currency'), 'VED']);

/** A currency code of ISO 4217, in capitals. */
export function readCurrency(text: string): Reading {
  const code = text.trim().toUpperCase();
  if (currencies.has(code)) return { value: code };
  return {
    reason: /^[A-Z]{3}$/.test(code)
      ? `${shown(text)} is not a currency of ISO 4217 that this version knows; correct it, or run a newer Node if it is new`
      : `${shown(text)} is not a currency code; write three letters of ISO 4217, like USD`,
  };
}

const canonicalWords = new Map(
  [
    ['Usage', 'Purchase', 'Tax', 'Credit', 'Adjustment'],
    ['Usage-Based', 'One-Time', 'Recurring', 'Standard', 'Dynamic', 'Committed', 'Other'],
    ['Correction', 'Used', 'Unused'],
  ].flatMap((words) => words.map((word) => [word.toLowerCase(), word] as const)),
);

/** A value of a closed FOCUS vocabulary in its canonical spelling; any other value unchanged. */
export function canonicalWord(text: string): string {
  return canonicalWords.get(text.toLowerCase()) ?? text;
}

function storableText(text: string): boolean {
  return !text.includes('\u0000') && !/\p{Surrogate}/u.test(text);
}

/** Text unchanged; Postgres stores neither a NUL character nor half of a surrogate pair. */
export function readText(text: string): Reading {
  return storableText(text) ? { value: text } : { reason: `${shown(text)} holds a NUL character` };
}

/** The id of an account. */
export function readAccountId(text: string): Reading {
  const reason = spreadsheetFault(text);
  return reason === undefined ? readText(text) : { reason };
}

function storable(value: unknown): boolean {
  if (typeof value === 'string') return storableText(value);
  if (value === null || typeof value !== 'object') return true;
  return Object.entries(value).every(([key, item]) => storableText(key) && storable(item));
}

const tagPair = z.object({ key: z.string(), value: z.unknown() });

const jsonToken = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?/g;

/** A number that JavaScript would write in another way becomes a text of the same digits: it is a label, no amount. */
function keepDigits(json: string): string {
  return json.replaceAll(jsonToken, (token) =>
    token.startsWith('"') || String(Number(token)) === token ? token : `"${token}"`,
  );
}

function parseTags(text: string): object | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(keepDigits(text));
  } catch {
    return undefined;
  }
  if (parsed === null || typeof parsed !== 'object') return undefined;
  return Array.isArray(parsed) ? objectOfPairs(parsed) : parsed;
}

/** `[{"key": "a", "value": "b"}]`, the form of Google Cloud exports; undefined for any other array. */
function objectOfPairs(items: readonly unknown[]): object | undefined {
  const pairs = items.map((item) => tagPair.safeParse(item).data);
  if (pairs.includes(undefined)) return undefined;
  return Object.fromEntries(pairs.flatMap((pair) => (pair ? [[pair.key, pair.value]] : [])));
}

const maxTagLevels = 100;

/** Deeper JSON ends in a stack overflow, here or in Postgres. */
function isTooDeep(json: string): boolean {
  let level = 0;
  for (const [mark] of json.matchAll(/"(?:[^"\\]|\\.)*"|[[\]{}]/gs)) {
    if (mark === '[' || mark === '{') level += 1;
    if (mark === ']' || mark === '}') level -= 1;
    if (level > maxTagLevels) return true;
  }
  return false;
}

/**
 * Tags as the text of one JSON object with trimmed keys. Two keys that become equal are one tag when their values
 * agree; otherwise the untrimmed key stays, so that no tag is lost. The object without its braces (Azure) and an array
 * of keys and values (Google Cloud) are accepted.
 */
export function readTags(text: string): Reading {
  const trimmed = text.trim();
  if (trimmed === '') return { value: '{}' };
  if (isTooDeep(trimmed)) {
    return { reason: `${shown(text)} is nested more than ${maxTagLevels} levels deep` };
  }
  const tags = parseTags(trimmed) ?? parseTags(`{${trimmed}}`);
  if (tags === undefined) return { reason: `${shown(text)} is not a JSON object of tags` };
  if (!storable(tags)) return { reason: `${shown(text)} holds a character that cannot be stored` };
  // Without a prototype, a tag named __proto__ is stored like any other.
  const out: Record<string, unknown> = Object.setPrototypeOf({}, null);
  const untrimmed: [string, unknown][] = [];
  for (const [key, value] of Object.entries(tags)) {
    if (key === key.trim()) out[key] = value;
    else untrimmed.push([key, value]);
  }
  for (const [key, value] of untrimmed) {
    const name = key.trim();
    if (!(name in out)) out[name] = value;
    else if (JSON.stringify(out[name]) !== JSON.stringify(value)) out[key] = value;
  }
  return { value: JSON.stringify(out) };
}
