/** The payload of an attempt, which travels as text. */
import { messageOf, PurserError } from '../../../errors.ts';
import type { BegunAttempt } from '../../../jobs/attempts.ts';

/** Throws `payload_not_delivered` (fatal). */
export function parsedPayload({ payload }: BegunAttempt): unknown {
  try {
    return JSON.parse(payload);
  } catch (error) {
    const text = `the job's payload cannot be read (${messageOf(error)}); enqueue a flatter one`;
    throw new PurserError('payload_not_delivered', text, {
      cause: error,
      details: { class: 'fatal' },
    });
  }
}
