/**
 * Redacts the secrets of an attempt in its end and its errors (in its log lines: attempt-log.ts), and refuses child
 * jobs that would store them. Only texts for people are redacted: states, codes and classes decide what happens next, so they
 * stay even if a secret has the same text.
 */
import { hideSealed, nameStep } from '../../../crypto/secrets/fields.ts';
import type { SecretTexts } from '../../../crypto/secrets/texts.ts';
import type { AttemptEnd } from '../../../jobs/attempts.ts';
import { PurserError } from '../../../errors.ts';
import { withoutStart } from '../../store-value.ts';
import type { PackedError } from '../packed-errors.ts';

export function redactAttemptEnd(secrets: SecretTexts, end: AttemptEnd): AttemptEnd {
  if (secrets.empty) return end;
  const { result, error, detail } = end;
  return {
    ...end,
    detail: secrets.redactValue(detail),
    ...(result === undefined ? {} : { result: redactResult(secrets, result) }),
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

/** A stored result. The beginning of one that was too large is cut text, in which secrets are not found for certain. */
export function redactResult(secrets: SecretTexts, stored: unknown): unknown {
  return secrets.empty ? stored : secrets.redactValue(withoutStart(stored));
}

/** Where a value would reveal a secret: a path, or a name of a field; undefined when it would not. */
function placeOfSecret(secrets: SecretTexts, value: unknown, path: string): string | undefined {
  if (value === null || typeof value !== 'object') {
    return secrets.redactValue(value) === value ? undefined : path;
  }
  for (const [key, item] of Object.entries(value)) {
    if (secrets.redact(key) !== key) return 'the name of a field';
    const step = Array.isArray(value) ? `[${key}]` : nameStep(key);
    const place = placeOfSecret(secrets, item, `${path}${step}`);
    if (place !== undefined) return place;
  }
  return undefined;
}

/** A secret is part of a payload, which has 1 MiB at most; what is longer than two of them is refused and not shown. */
const longestName = 2 * 1_048_576;

function isRevealing(secrets: SecretTexts, name: unknown): boolean {
  if (typeof name !== 'string') return false;
  const text = name.slice(0, longestName);
  return secrets.redact(text) !== text;
}

/** The payload as JSON; null for what is not JSON, which the enqueue refuses. */
function asStored(payload: object): unknown {
  try {
    return JSON.parse(JSON.stringify(payload));
  } catch {
    return null;
  }
}

/**
 * Throws `secret_in_child_job` (fatal) when the payload of a child job, its secret fields encrypted already, contains a
 * secret of this attempt.
 */
export function refuseSecrets(secrets: SecretTexts, jobType: string, payload: object): void {
  if (secrets.empty) return;
  const place = placeOfSecret(secrets, hideSealed(asStored(payload)), '$');
  if (place !== undefined) throw secretInChild(jobType, place);
}

/** Of a child job, stored as they are; unchecked. */
export interface ChildNames {
  readonly dedupKey?: unknown;
  readonly group?: unknown;
}

/** Throws the same for the names of a child job. */
export function refuseSecretNames(
  secrets: SecretTexts,
  jobType: string,
  { dedupKey, group }: ChildNames,
): void {
  if (secrets.empty) return;
  if (isRevealing(secrets, dedupKey)) throw secretInChild(jobType, 'the dedup key');
  if (isRevealing(secrets, group)) throw secretInChild(jobType, 'the group');
}

function secretInChild(jobType: string, place: string): PurserError {
  return new PurserError(
    'secret_in_child_job',
    `the child job ${jobType} would store a secret of this job in plain text (${place}); mark the field as secret ` +
      'in the payload schema of its handler, or leave the value out',
    { details: { class: 'fatal', jobType } },
  );
}
