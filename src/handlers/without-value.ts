/** Faults of payloads name fields, never values. */
import { SecretTexts } from '../crypto/secrets/texts.ts';

/** Schema libraries and users' own messages may quote the value; it is redacted. */
export function withoutValue(
  message: string,
  payload: unknown,
  path: readonly PropertyKey[],
): string {
  let value = payload;
  for (const key of path) {
    value = value !== null && typeof value === 'object' ? Reflect.get(value, key) : undefined;
  }
  const texts = new SecretTexts();
  texts.add(jsonOf(value));
  return texts.redact(message);
}

function jsonOf(value: unknown): string {
  try {
    return JSON.stringify(value) ?? '';
  } catch {
    // Not JSON; the enqueue refuses it for that reason.
    return '';
  }
}
