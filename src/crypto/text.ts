/**
 * Text is encoded to bytes and decoded unchanged, or refused: never replaced, never trimmed. NUL, a leading byte
 * order mark and the empty string are valid.
 */
import { PurserError } from '../errors.ts';
import { decryptionFailed } from './decryption-failed.ts';

/** Maximum length of a plaintext in bytes of UTF-8 (1 MiB). */
export const PLAINTEXT_MAX_BYTES = 1_048_576;

// With the u flag a paired surrogate is one code point, so this matches lone ones only.
const loneSurrogate = /\p{Surrogate}/u;

/** Whether the text contains an unpaired surrogate, which UTF-8 cannot represent. */
export function hasLoneSurrogate(text: string): boolean {
  return loneSurrogate.test(text);
}

/**
 * UTF-8 of a value to be encrypted.
 * @throws PurserError `plaintext_invalid` for a lone surrogate, `plaintext_too_large` above the limit
 */
export function encodePlaintext(value: string): Buffer {
  // UTF-8 has at least as many bytes as UTF-16 has units: this refuses before scanning the text.
  if (value.length > PLAINTEXT_MAX_BYTES) throw tooLarge();
  const index = value.search(loneSurrogate);
  if (index !== -1) {
    throw new PurserError(
      'plaintext_invalid',
      `a value to be encrypted has a lone surrogate at index ${index}, which UTF-8 cannot hold: repair the text before storing it`,
    );
  }
  const bytes = Buffer.from(value, 'utf8');
  if (bytes.length > PLAINTEXT_MAX_BYTES) throw tooLarge();
  return bytes;
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Text of decrypted bytes. @throws PurserError `decryption_failed` when they are not UTF-8 */
export function decodePlaintext(bytes: Uint8Array): string {
  try {
    return utf8.decode(bytes);
  } catch {
    throw decryptionFailed();
  }
}

function tooLarge(): PurserError {
  return new PurserError(
    'plaintext_too_large',
    `a value to be encrypted is longer than ${PLAINTEXT_MAX_BYTES} bytes: store it elsewhere and encrypt its key`,
    { details: { maxBytes: PLAINTEXT_MAX_BYTES } },
  );
}
