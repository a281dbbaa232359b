/** What counts as an unavailable database, and what it means for a job that met it. */
import { expect, it } from 'vitest';
import { isStoreUnavailable, mapStoreErrors } from '../../src/db/store-errors.ts';
import { UsageError } from '../../src/errors.ts';

const failure = (code: string) => Object.assign(new Error(code), { code });

it.each([
  '08006',
  '53300',
  '57P01',
  '57P03',
  '40001',
  '25006',
  'ECONNREFUSED',
  'CONNECTION_CLOSED',
])('%s is an unavailable database: the job waits, and its attempt does not count', async (code) => {
  expect(isStoreUnavailable(failure(code))).toBe(true);
  await expect(mapStoreErrors('read', () => Promise.reject(failure(code)))).rejects.toMatchObject({
    code: 'store_unavailable',
    status: 503,
    details: { class: 'snooze', retryAfterMs: expect.any(Number) },
  });
});

it.each(['23505', '42P01', '22003', 'PU101'])('%s is a failed statement', async (code) => {
  const thrown = failure(code);
  expect(isStoreUnavailable(thrown)).toBe(false);
  await expect(mapStoreErrors('read', () => Promise.reject(thrown))).rejects.toBe(thrown);
});

it('an error of Purser passes unchanged', async () => {
  const thrown = new UsageError('no');
  await expect(mapStoreErrors('read', () => Promise.reject(thrown))).rejects.toBe(thrown);
});
