/** kill -9 at each step of a call. Whatever happens, no hold leaks and no bill is lost. */
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { releaseExpiredReservations } from '../../../src/budget/expire.ts';
import { connect } from '../../../src/db/connect.ts';
import { countersOf, untilWaiting } from '../../support/holds.ts';
import { useProvider } from '../../support/llm-attempt.ts';
import { startNode } from '../../support/process.ts';
import { addTenant, startAttempt } from '../../support/tenants.ts';

const script = fileURLToPath(new URL('crash-child.ts', import.meta.url));
const fixture = useProvider({ price: { model: 'ten-cents', input: 0, output: 1000 } });

async function startCall(act: 'reserve' | 'generate') {
  const tenantId = await addTenant(fixture.database.sql, { limitUsd: '1' });
  const attempt = await startAttempt(fixture.database.sql, tenantId);
  const argument = JSON.stringify({
    url: fixture.database.url,
    baseUrl: fixture.provider.url,
    attempt,
  });
  const child = startNode(['--import', 'tsx', script, act, argument], `crash-child ${act}`);
  return { tenantId, child };
}

/** What the sweep leaves, hours after the process died. */
async function countersAfterSweep(tenantId: string) {
  const now = new Date(Date.now() + 3_600_000);
  await releaseExpiredReservations({ sql: fixture.database.sql, now, limit: 100 });
  return countersOf(fixture.database.sql, tenantId);
}

describe('a process that is killed', () => {
  it('between reserve and send releases its hold', async () => {
    const { tenantId, child } = await startCall('reserve');
    await child.waitForLine(/reserved/);
    await child.kill();
    expect(await countersOf(fixture.database.sql, tenantId)).toMatchObject({ reserved: '0.1' });
    expect(await countersAfterSweep(tenantId)).toEqual({ reserved: '0', spent: '0', unknown: '0' });
  });

  it('between send and answer stays charged at its hold', async () => {
    fixture.provider.script({ kind: 'hang' });
    const { tenantId, child } = await startCall('generate');
    await expect.poll(() => fixture.provider.received.length, { timeout: 20_000 }).toBe(1);
    await child.kill();
    expect(await countersAfterSweep(tenantId)).toEqual({
      reserved: '0',
      spent: '0',
      unknown: '0.1',
    });
  });

  it('while it settles is charged once: the cost or the hold', async () => {
    const usage = { prompt_tokens: 10, completion_tokens: 40 };
    fixture.provider.script({ kind: 'answer', usage, delayMs: 500 });
    const { tenantId, child } = await startCall('generate');
    await expect.poll(() => fixture.provider.received.length, { timeout: 20_000 }).toBe(1);
    const locker = connect(fixture.database.url, { max: 1, applicationName: 'purser test locker' });
    await locker.begin(async (tx) => {
      await tx`select from llm_budget_periods where tenant_id = ${tenantId} for update`;
      await untilWaiting(fixture.database.sql, 1);
      await child.kill();
    });
    await locker.end({ timeout: 5 });
    await expect
      .poll(async () => {
        const [row] = await fixture.database.sql<{ left: number }[]>`
          select count(*)::int as left from pg_stat_activity
          where datname = current_database() and application_name = 'purser test crashing'`;
        return row?.left;
      })
      .toBe(0);
    const after = await countersAfterSweep(tenantId);
    const settled = { reserved: '0', spent: '0.04', unknown: '0' };
    const kept = { reserved: '0', spent: '0', unknown: '0.1' };
    expect([settled, kept]).toContainEqual(after);
  });

  it('never: the same call ends settled', async () => {
    const { tenantId, child } = await startCall('generate');
    expect(await child.waitForExit()).toMatchObject({ code: 0 });
    expect(await countersOf(fixture.database.sql, tenantId)).toMatchObject({
      reserved: '0',
      unknown: '0',
    });
  });
});
