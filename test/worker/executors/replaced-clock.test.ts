/** A module that replaces Date while it loads (timekeeper, sinon) changes no time at which a job runs again. */
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openPool } from './built-executors.ts';
import type { BuiltPool } from './built-executors.ts';

const outcomes = join(import.meta.dirname, '../../../dist/handlers/outcome.js');
const handlers = `
import { park, retry, snooze } from '${outcomes}';
const RealDate = Date;
const at = new RealDate('2000-01-01T00:00:00Z').getTime();
globalThis.Date = class extends RealDate {
  constructor(...parts) { if (parts.length === 0) super(at); else super(...parts); }
  static now() { return at; }
};
const h = (type, run) => ({ type, timeoutMs: 20_000, maxAttempts: 3, backoff: { baseMs: 60_000, capMs: 60_000 }, run });
export const handlers = [
  h('snoozes', async () => snooze({ reason: 'later', afterMs: 3_000_000 })),
  h('retries', async () => retry({ reason: 'later', afterMs: 3_000_000 })),
  h('fails', async () => { throw new Error('x'); }),
  h('parks', async () => park({ reason: 'x', neededUsd: '1' })),
];
`;

let pool: BuiltPool;
beforeAll(async () => {
  pool = await openPool(handlers);
});
afterAll(() => pool.close());

it('the wait of a snooze and of a retry is what the handler gave', async () => {
  expect(await pool.run('snoozes')).toMatchObject({ toState: 'pending', afterMs: 3_000_000 });
  expect(await pool.run('retries')).toMatchObject({ toState: 'failed', afterMs: 3_000_000 });
});

it('the wait of a failure is that of its backoff', async () => {
  const { afterMs } = await pool.run('fails');
  expect(afterMs).toBeGreaterThanOrEqual(0);
  expect(afterMs).toBeLessThanOrEqual(60_000);
});

it('a park without a date leaves it to the database', async () => {
  const end = await pool.run('parks');
  expect(end).toMatchObject({ toState: 'parked' });
  expect(end).not.toHaveProperty('until');
});
