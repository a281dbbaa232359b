/**
 * Strict base64: one text for one sequence of bytes. Node's decoder skips foreign characters and
 * ignores unused bits, so a changed text could still decode; these functions refuse it.
 */

/** Bytes of standard base64 with padding, or undefined when the text is anything else. */
export function decodeBase64(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64');
  return bytes.toString('base64') === text ? bytes : undefined;
}

/** Bytes of URL-safe base64 without padding, or undefined when the text is anything else. */
export function decodeBase64Url(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64url');
  return bytes.toString('base64url') === text ? bytes : undefined;
}

/** URL-safe base64 with padding, as Fernet and Python's `urlsafe_b64encode` write it. */
export function encodePaddedBase64Url(bytes: Buffer): string {
  return bytes.toString('base64').replaceAll('+', '-').replaceAll('/', '_');
}

/** Bytes of URL-safe base64 with padding, or undefined when the text is anything else. */
export function decodePaddedBase64Url(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64url');
  return encodePaddedBase64Url(bytes) === text ? bytes : undefined;
}
