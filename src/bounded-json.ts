/** Converts any value that a handler may throw to JSON of bounded size, in bounded time. */

import { types } from 'node:util';
import { readableText } from './bounded-text.ts';

const maxTextLength = 10_000;
const maxDepth = 20;

/** JSON of about `maxLength` characters at most; undefined where the value has none. Never throws. */
export function boundedJson(value: unknown, maxLength: number): unknown {
  return convert(value, { characters: maxLength }, 0);
}

interface Budget {
  characters: number;
}

function convert(value: unknown, left: Budget, depth: number): unknown {
  try {
    return convertReadable(value, left, depth);
  } catch {
    return '[unreadable]';
  }
}

function convertReadable(value: unknown, left: Budget, depth: number): unknown {
  if (depth > maxDepth) return '[left out]';
  const text = (whole: string): string => {
    const kept = cut(whole, Math.max(0, Math.min(left.characters, maxTextLength)));
    left.characters -= kept.length;
    return kept;
  };
  // For a number, or for the quotes and brackets around another value.
  left.characters -= 20;
  if (typeof value === 'string') return text(value);
  if (types.isStringObject(value)) return text(String.prototype.valueOf.call(value));
  if (typeof value === 'bigint') return text(value.toString());
  if (typeof value === 'number') return Number.isFinite(value) ? value : null;
  if (value === null || typeof value === 'boolean') return value;
  if (typeof value !== 'object') return undefined;
  if (value instanceof Date) return value.toJSON();
  if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`;
  if (Array.isArray(value)) {
    const items: unknown[] = [];
    for (let index = 0; index < value.length && left.characters > 0; index += 1) {
      items.push(convert(read(value, String(index)), left, depth + 1) ?? null);
    }
    return items;
  }
  const entries: [string, unknown][] = [];
  for (const key of Object.keys(value)) {
    if (left.characters <= 0) break;
    entries.push([text(key), convert(read(value, key), left, depth + 1)]);
  }
  return Object.fromEntries(entries);
}

/** A field, or undefined where reading it throws. */
export function read(from: object, key: string): unknown {
  try {
    const value: unknown = Reflect.get(from, key);
    return value;
  } catch {
    return undefined;
  }
}

export function cut(whole: string, maxLength: number): string {
  const text = readableText(whole);
  return text.length > maxLength ? `${text.slice(0, maxLength)} [cut at ${maxLength}]` : text;
}
