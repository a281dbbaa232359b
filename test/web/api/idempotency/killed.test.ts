/** A web process that is killed in a write, at any moment, leaves all of it or nothing: the repetition acts once. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Sql } from '../../../../src/db/connect.ts';
import { freePort } from '../../../support/children.ts';
import { startCli } from '../../../support/process.ts';
import type { CliProcess } from '../../../support/process.ts';
import { addTenant } from '../../../support/tenants.ts';
import { bearer, makeToken } from '../../access/access-fixture.ts';
import { startFixture } from '../../web-fixture.ts';
import type { WebFixture } from '../../web-fixture.ts';
import { askWith } from '../api-fixture.ts';
import type { Ask } from '../api-fixture.ts';

/** The start of a process on a busy machine. */
const startMs = 120_000;

let fixture: WebFixture;
let sql: Sql;
let tenantId: string;
let headers: Record<string, string>;
/** By a process that lives on. */
let askLasting: Ask;
beforeAll(async () => {
  fixture = await startFixture();
  ({ sql } = fixture.test);
  tenantId = await addTenant(sql, { limitUsd: '10' });
  headers = bearer(await makeToken(fixture, { role: 'admin' }));
  askLasting = askWith(fixture, headers);
});
afterAll(() => fixture.close());

async function start(): Promise<{ readonly process: CliProcess; readonly ask: Ask }> {
  const port = await freePort();
  const process = startCli(['start', 'web'], {
    env: { DATABASE_URL: fixture.test.url, PORT: String(port), LOG_LEVEL: 'warn' },
  });
  await process.waitForLine(/^purser web is running/, { timeoutMs: startMs });
  return { process, ask: askWith({ url: `http://127.0.0.1:${port}` }, headers) };
}

const body = () => ({ tenantId, jobType: 'report' });
const count = async (table: string): Promise<number> => {
  const [row] = await sql<{ rows: number }[]>`
    select count(*)::int as rows from ${sql(table)} where tenant_id = ${tenantId}`;
  return row?.rows ?? 0;
};

it(
  'in its act: nothing is left, and another process acts for the repetition',
  async () => {
    const { process, ask } = await start();
    const holder = await sql.reserve();
    await holder`begin`;
    await holder`select from tenants where id = ${tenantId} for update`;
    const first = ask('/jobs', { body: body(), key: 'killed-inside' }).catch(() => 'gone');
    await expect
      .poll(
        async () => {
          const found = await sql`
        select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`;
          return found.length;
        },
        { timeout: 20_000 },
      )
      .toBe(1);
    await process.kill();
    expect(await first).toBe('gone');
    await holder`rollback`;
    holder.release();
    // Postgres ends the session of the dead process when it answers it.
    const again = await askLasting('/jobs', { body: body(), key: 'killed-inside' });
    expect([again.status, await count('jobs')]).toEqual([201, 1]);
  },
  2 * startMs,
);

it.each([1, 8])(
  'about %d ms after it was asked: one job and one top-up, whatever the client heard',
  async (ms) => {
    const { process, ask } = await start();
    // The first request of a process takes longer than the later ones.
    await ask('/jobs');
    const jobs = await count('jobs');
    const topUps = await count('llm_top_ups');
    const key = `killed-${ms}`;
    const topUp = { body: { usd: '0.5', reason: 'more' }, key: `top-${key}` };
    const path = `/tenants/${tenantId}/budget/top-up`;
    const both = Promise.allSettled([ask('/jobs', { body: body(), key }), ask(path, topUp)]);
    await sleep(ms);
    await process.kill();
    const [heard, heardTopUp] = await both;
    for (let repetition = 0; repetition < 2; repetition += 1) {
      const again = await askLasting('/jobs', { body: body(), key });
      expect(again.json).toEqual(heard.status === 'fulfilled' ? heard.value.json : again.json);
      const toppedUp = await askLasting(path, topUp);
      expect(toppedUp.json).toEqual(
        heardTopUp.status === 'fulfilled' ? heardTopUp.value.json : toppedUp.json,
      );
      expect([again.status, toppedUp.status]).toEqual([201, 200]);
      expect([(await count('jobs')) - jobs, (await count('llm_top_ups')) - topUps]).toEqual([1, 1]);
    }
  },
  2 * startMs,
);
