/** Any value as JSON of bounded size, in bounded time: for what a handler throws, which may be anything. */

const maxTextLength = 10_000;
const maxDepth = 20;

/** JSON of about `maxLength` characters at most; undefined where the value has none. Never throws. */
export function boundedJson(value: unknown, maxLength: number): unknown {
  return plain(value, { characters: maxLength }, 0);
}

interface Room {
  characters: number;
}

function plain(value: unknown, room: Room, depth: number): unknown {
  try {
    return plainOf(value, room, depth);
  } catch {
    return '[unreadable]';
  }
}

function plainOf(value: unknown, room: Room, depth: number): unknown {
  if (depth > maxDepth) return '[left out]';
  const text = (whole: string): string => {
    const kept = cut(whole, Math.max(0, Math.min(room.characters, maxTextLength)));
    room.characters -= kept.length;
    return kept;
  };
  // Of a number, or of what stands around another value.
  room.characters -= 20;
  if (typeof value === 'string') return text(value);
  if (typeof value === 'bigint') return text(value.toString());
  if (typeof value === 'number') return Number.isFinite(value) ? value : null;
  if (value === null || typeof value === 'boolean') return value;
  if (typeof value !== 'object') return undefined;
  if (value instanceof Date) return value.toJSON();
  if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`;
  const entries: [string, unknown][] = [];
  for (const key of Object.keys(value)) {
    if (room.characters <= 0) break;
    entries.push([text(key), plain(read(value, key), room, depth + 1)]);
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
