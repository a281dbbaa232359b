/** Types of environment variables other than URLs, each with the message for a wrong value. */
import { isIP } from 'node:net';
import { z } from 'zod';
import { nameFault } from './names.ts';
import type { NameKind } from './names.ts';

export const flag = z
  .enum(['true', 'false'], { error: 'must be true or false' })
  .transform((text) => text === 'true');
export const wholeNumber = (min: number, max: number) =>
  z
    .string()
    .refine((text) => /^\d{1,9}$/.test(text) && Number(text) >= min && Number(text) <= max, {
      error: `must be a whole number from ${min} to ${max}`,
    })
    .transform(Number);
export const salt = z
  .string()
  .refine((text) => /^[A-Za-z0-9+/]{43}=$/.test(text), { error: 'is not 32 bytes in base64' });

/** Names that are sent in a header: others would fail with the first request, or be sent changed. */
const headerText = z.string().refine((text) => /^[!-~]([ -~]*[!-~])?$/.test(text), {
  error: 'must be printable ASCII text without blanks at its ends',
});
/** A provider's key, which a header carries behind `Bearer` or as it is. */
export const apiKey = z.string().superRefine((text, context) => {
  if (/^bearer\b/i.test(text)) {
    context.addIssue('begins with Bearer, which is added to it; give the key alone');
  } else if (!/^[!-~]+$/.test(text)) {
    context.addIssue('must be printable ASCII text without blanks');
  } else if (/^["']|["']$/.test(text)) {
    context.addIssue('has a quote at an end; remove it');
  }
});

const nameText = (kind: NameKind) =>
  headerText.superRefine((text, context) => {
    const fault = nameFault(kind, text);
    if (fault !== undefined) context.addIssue({ code: 'custom', message: `is refused: ${fault}` });
  });

export const model = nameText('model');
/** A browser sends it before the first colon of its header. */
export const user = nameText('operator').refine((text) => !text.includes(':'), {
  error: 'must not contain a colon',
});

/** A comma-separated list of addresses and networks; a network of all addresses would trust every client. */
export const networks = z
  .string()
  .transform((text) => text.split(',').map((entry) => entry.trim()))
  .refine((entries) => entries.every(isNetwork), {
    error: 'must be a comma-separated list of IP addresses and networks',
  });

function isNetwork(entry: string): boolean {
  const [address = '', prefix, ...more] = entry.split('/');
  const version = isIP(address);
  if (version === 0 || more.length > 0) return false;
  if (prefix === undefined) return true;
  return /^[1-9]\d{0,2}$/.test(prefix) && Number(prefix) <= (version === 4 ? 32 : 128);
}
