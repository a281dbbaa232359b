import { expect, it } from 'vitest';
import { parseRetryAfter } from '../src/retry-after.ts';

const now = new Date('2026-01-01T00:00:00Z');

it.each([
  ['2', 2_000],
  ['0', 1_000],
  ['1.5', 1_500],
  ['999999', 3_600_000],
  ['Thu, 01 Jan 2026 00:00:30 GMT', 30_000],
  ['Wed, 31 Dec 2025 00:00:00 GMT', 1_000],
  ['-5', undefined],
  ['2026-01-01', undefined],
  ['1e300', undefined],
  ['soon', undefined],
  ['', undefined],
  [null, undefined],
])('Retry-After: %s is %s ms', (header, waitMs) => {
  expect(parseRetryAfter(header, now)).toBe(waitMs);
});
