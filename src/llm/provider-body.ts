/** Reads a provider's response with a bound on its size, and its JSON without trusting its shape. */

export class BodyTooLarge extends Error {}

/** The body as text. Throws `BodyTooLarge` once it exceeds `maxBytes`, and reads no further. */
export async function readBody(response: Response, maxBytes: number): Promise<string> {
  if (response.body === null) return '';
  const decoder = new TextDecoder();
  let bytes = 0;
  let text = '';
  for await (const chunk of response.body) {
    bytes += chunk.byteLength;
    if (bytes > maxBytes) throw new BodyTooLarge();
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

export type JsonObject = Readonly<Record<string, unknown>>;

/** Parses an object. Google wraps some of its errors in a list of one. */
export function parseObject(text: string): JsonObject | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return asObject(Array.isArray(value) ? value[0] : value);
  } catch {
    return undefined;
  }
}

/** Of an answer with its lists of parts, annotations and sources. */
const maxValues = 20_000;

/** Whether it has more objects, lists and fields than an answer has. Stops counting there. */
export function hasManyValues(value: unknown): boolean {
  const open: unknown[] = [value];
  let count = 0;
  for (let next = open.pop(); next !== undefined || open.length > 0; next = open.pop()) {
    if (typeof next !== 'object' || next === null) continue;
    const inner: unknown[] = Object.values(next);
    count += inner.length;
    if (count > maxValues) return true;
    open.push(...inner);
  }
  return false;
}

export function asObject(value: unknown): JsonObject | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? Object.fromEntries(Object.entries(value))
    : undefined;
}

export function asObjects(value: unknown): JsonObject[] {
  return Array.isArray(value) ? value.map(asObject).filter((one) => one !== undefined) : [];
}
