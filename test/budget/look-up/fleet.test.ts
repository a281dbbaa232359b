/** A module's `lookUpUsage` resolves calls of unknown outcome in a fleet of processes. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { markSent } from '../../../src/budget/reserve.ts';
import { markUnknown } from '../../../src/budget/settle.ts';
import { freshDatabase } from '../../support/database.ts';
import { countersOf, reserve } from '../../support/holds.ts';
import { addTenant, startAttempt } from '../../support/tenants.ts';
import { startRole, stopAll } from '../../e2e/fleet.ts';

it('asks the hook of the module about calls of unknown outcome, and settles by its answers', async () => {
  const database = await freshDatabase();
  const folder = await mkdtemp(join(tmpdir(), 'purser-look-up-'));
  await writeFile(
    join(folder, 'look-up.mjs'),
    `export const handlers = [{ type: 'idle', timeoutMs: 1000, maxAttempts: 1, run: async () => {} }];
    export const lookUpUsage = async ({ model, signal }) => {
      signal.throwIfAborted();
      return { costUsd: model === 'test-model' ? '0.25' : '9' };
    };`,
  );
  const { sql } = database;
  const tenantId = await addTenant(sql, { limitUsd: '10' });
  const hold = await reserve(sql, await startAttempt(sql, tenantId), '1');
  await markSent(sql, hold);
  await markUnknown(sql, { ...hold, now: new Date(Date.now() - 360_000) });
  const env = { DATABASE_URL: database.url };
  const fleet = await Promise.all([
    startRole('scheduler', env),
    startRole('worker', { ...env, PURSER_HANDLERS: './look-up.mjs' }, folder),
  ]);
  const spent = async (): Promise<string> => (await countersOf(sql, tenantId)).spent;
  while ((await spent()) === '0') await sleep(100);
  expect(await spent()).toBe('0.25');
  expect(await stopAll(fleet)).toEqual([0, 0]);
  await database.close();
  await rm(folder, { recursive: true });
});
