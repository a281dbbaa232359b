/**
 * What leaves an attempt, without the secrets that were opened for it. Only texts that people read are gone
 * through: the words that the fleet steers by stay what they are, whatever a secret may spell.
 */
import type { SecretTexts } from '../../crypto/secrets/texts.ts';
import type { AttemptEnd } from '../../jobs/attempts.ts';
import type { PackedError } from './packed-errors.ts';

export function endWithout(secrets: SecretTexts, end: AttemptEnd): AttemptEnd {
  if (secrets.empty) return end;
  const { result, error, detail } = end;
  return {
    ...end,
    detail: secrets.redactValue(detail),
    ...(result === undefined ? {} : { result: secrets.redactValue(result) }),
    ...(error === undefined ? {} : { error: secrets.redactValue(error) }),
  };
}

export function errorWithout(secrets: SecretTexts, packed: PackedError): PackedError {
  if (secrets.empty) return packed;
  const { message, stack, cause, fields } = packed;
  return {
    ...packed,
    message: secrets.redact(message),
    fields: secrets.redactValue(fields),
    ...(stack === undefined ? {} : { stack: secrets.redact(stack) }),
    ...(cause === undefined ? {} : { cause: errorWithout(secrets, cause) }),
  };
}
