/** Converts any value that a handler may throw to JSON of bounded size, in bounded time. */

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
  if (typeof value === 'bigint') return text(value.toString());
  if (typeof value === 'number') return Number.isFinite(value) ? value : null;
  if (value === null || typeof value === 'boolean') return value;
  if (typeof value !== 'object') return undefined;
  if (value instanceof Date) return value.toJSON();
  if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`;
  const entries: [string, unknown][] = [];
  for (const key of Object.keys(value)) {
    if (left.characters <= 0) break;
    entries.push([text(key), convert(read(value, key), left, depth + 1)]);
  }
  return Array.isArray(value)
    ? entries.map(([, item]) => item ?? null)
    : Object.fromEntries(entries);
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

export function cut(text: string, maxLength: number): string {
  return text.length > maxLength ? `${text.slice(0, maxLength)} [cut at ${maxLength}]` : text;
}
