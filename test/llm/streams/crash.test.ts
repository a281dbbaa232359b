/** kill -9 in the middle of a stream: its hold stays charged, and is never refunded. */
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { releaseExpiredReservations } from '../../../src/budget/expire.ts';
import { countersOf } from '../../support/holds.ts';
import { useProvider } from '../../support/llm-attempt.ts';
import { startNode } from '../../support/process.ts';
import { addTenant, startAttempt } from '../../support/tenants.ts';

const script = fileURLToPath(new URL('crash-child.ts', import.meta.url));
const fixture = useProvider({ price: { model: 'ten-cents', input: 0, output: 1000 } });

const held = { reserved: '0.1', spent: '0', unknown: '0' };
const unknown = { reserved: '0', spent: '0', unknown: '0.1' };

it('a process that is killed in the middle of its stream leaves its hold to expiry, as unknown', async () => {
  const { sql, url } = fixture.database;
  let release = (): void => {};
  const until = new Promise<void>((resolve) => {
    release = resolve;
  });
  fixture.provider.script({ kind: 'stream', content: 'All is well, and more.', until });
  const tenantId = await addTenant(sql, { limitUsd: '1' });
  const attempt = await startAttempt(sql, tenantId);
  const argument = JSON.stringify({ url, baseUrl: fixture.provider.url, attempt });
  const child = startNode(['--import', 'tsx', script, argument], 'crash-child stream');
  await child.waitForLine(/^read All/);
  await child.kill();
  // The provider told its usage to nobody.
  release();
  const sweep = (ms: number) =>
    releaseExpiredReservations({ sql, now: new Date(Date.now() + ms), limit: 100 });
  expect(await sweep(0)).toEqual({ released: 0, unknown: 0 });
  expect(await countersOf(sql, tenantId)).toEqual(held);
  expect(await sweep(3_600_000)).toEqual({ released: 0, unknown: 1 });
  expect(await countersOf(sql, tenantId)).toEqual(unknown);
  expect(await sweep(100 * 86_400_000)).toEqual({ released: 0, unknown: 0 });
  expect(await countersOf(sql, tenantId)).toEqual(unknown);
});
