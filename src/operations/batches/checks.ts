/** Checks of what an operator gives for a batch, for every door. */
import { PurserError } from '../../errors.ts';
import { isStorable } from '../../names.ts';

export const maxPerSecond = 1_000;
const maxReasonLength = 500;

/** Throws `invalid_reason`. */
export function checkReason(reason: unknown): asserts reason is string {
  const isText = typeof reason === 'string' && reason.trim() !== '' && isStorable(reason);
  if (isText && reason.length <= maxReasonLength) return;
  throw new PurserError(
    'invalid_reason',
    `the reason must be a text of 1 to ${maxReasonLength} characters without NUL characters`,
    { status: 400 },
  );
}

/** How many jobs a batch may take. Throws `invalid_limit`. */
export function checkSize(limit: number, max: number): void {
  if (Number.isInteger(limit) && limit >= 1 && limit <= max) return;
  throw new PurserError('invalid_limit', `the limit must be a whole number from 1 to ${max} jobs`, {
    status: 400,
  });
}

/** Throws `invalid_pace`. */
export function checkPace(perSecond: unknown): asserts perSecond is number {
  const isPace = typeof perSecond === 'number' && Number.isInteger(perSecond);
  if (isPace && perSecond >= 1 && perSecond <= maxPerSecond) return;
  throw new PurserError(
    'invalid_pace',
    `the pace must be a whole number from 1 to ${maxPerSecond} jobs per second`,
    { status: 400 },
  );
}
