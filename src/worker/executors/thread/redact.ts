/**
 * Removes the secrets that were opened for an attempt from its end and from its errors. Only texts for people are
 * redacted: states, codes and classes decide what happens next, so they stay even if a secret has the same text.
 */
import type { SecretTexts } from '../../../crypto/secrets/texts.ts';
import type { AttemptEnd } from '../../../jobs/attempts.ts';
import type { PackedError } from '../packed-errors.ts';

export function redactAttemptEnd(secrets: SecretTexts, end: AttemptEnd): AttemptEnd {
  if (secrets.empty) return end;
  const { result, error, detail } = end;
  return {
    ...end,
    detail: secrets.redactValue(detail),
    ...(result === undefined ? {} : { result: secrets.redactValue(result) }),
    ...(error === undefined ? {} : { error: secrets.redactValue(error) }),
  };
}

export function redactError(secrets: SecretTexts, packed: PackedError): PackedError {
  if (secrets.empty) return packed;
  const { message, stack, cause, fields } = packed;
  return {
    ...packed,
    message: secrets.redact(message),
    fields: secrets.redactValue(fields),
    ...(stack === undefined ? {} : { stack: secrets.redact(stack) }),
    ...(cause === undefined ? {} : { cause: redactError(secrets, cause) }),
  };
}
