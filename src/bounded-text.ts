/**
 * Texts and JSON of values that a user's code made, which can have any size. A text beyond the bound is not read, and
 * JSON beyond it is not made: V8 ends the whole process, not only the thread, when either does not fit into the
 * thread's heap.
 */
import { types } from 'node:util';

const { isStringObject, isTypedArray } = types;

/** Reading any character of a concatenated text makes V8 copy the whole text. Its length is known without. */
export const maxReadCharacters = 16 * 1024 * 1024;

/** `text`, or a note in its place when it is longer than `maxReadCharacters`. */
export const readableText = (text: string): string =>
  text.length <= maxReadCharacters
    ? text
    : `[a text of ${text.length} characters, which is not read]`;

export class JsonTooLongError extends Error {
  constructor(maxCharacters: number) {
    super(`its JSON has more than ${maxCharacters} characters`);
  }
}

/**
 * Like JSON.stringify, but throws a JsonTooLongError before it makes JSON of much more than `maxCharacters`; never for
 * a value whose JSON has fewer. `check` is called for every key and value, and may throw. `convert` may replace a value
 * that JSON would write as null; it is given what `toJSON` made of the value, and where that is null, the value itself.
 */
export function jsonWithin(
  value: unknown,
  maxCharacters: number,
  check?: (key: string, value: unknown) => void,
  convert?: (item: unknown, original: unknown) => unknown,
): string | undefined {
  let left = maxCharacters;
  const refuseMoreThanLeft = (characters: number): void => {
    if (characters > left) throw new JsonTooLongError(maxCharacters);
  };
  refuseMoreThanLeft(elementsOf(value));
  return JSON.stringify(value, function (this: unknown, key: string, item: unknown): unknown {
    left -= lengthOf(key, item, this);
    refuseMoreThanLeft(0);
    check?.(key, item);
    // JSON.stringify would call its toString.
    if (isStringObject(item)) return String.prototype.valueOf.call(item);
    // Before their toJSON is called, which of a buffer makes a list.
    if (Array.isArray(item)) {
      refuseMoreThanLeft(item.length);
      for (const child of item) refuseMoreThanLeft(elementsOf(child));
    } else if (ArrayBuffer.isView(item)) refuseMoreThanLeft(elementsOf(item));
    else if (item !== null && typeof item === 'object') {
      for (const child of Object.values(item)) refuseMoreThanLeft(elementsOf(child));
    }
    if (convert === undefined) return item;
    return convert(item, item === null ? Reflect.get(Object(this), key) : item);
  });
}

/** A lower bound of the characters of one value without its children, and of its key. */
function lengthOf(key: string, item: unknown, holder: unknown): number {
  if (Array.isArray(holder)) return ownLengthOf(item);
  if (item === undefined || typeof item === 'function' || typeof item === 'symbol') return 0;
  return key.length + ownLengthOf(item);
}

const ownLengthOf = (item: unknown): number =>
  typeof item === 'string' || isStringObject(item) ? item.length : 1;

/** Of a typed array or buffer, whose JSON has more characters than elements. */
const elementsOf = (value: unknown): number =>
  isTypedArray(value) ? value.byteLength / value.BYTES_PER_ELEMENT : 0;

/**
 * The stack of an error; undefined where reading it could make a text of any size: V8 makes it at the first reading,
 * of the error's name and message, whatever these are by then.
 */
export function readableStack(error: Error): string | undefined {
  const parts: readonly unknown[] = [error.name, error.message];
  const isShort = parts.every(
    (part) => typeof part === 'string' && part.length <= maxReadCharacters,
  );
  return isShort ? error.stack : undefined;
}
