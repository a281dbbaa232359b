import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { freePort } from '../support/children.ts';
import { describeOnRedis, startRedis } from '../support/redis.ts';
import type { TestRedis } from '../support/redis.ts';
import { credentials, startFixture } from './web-fixture.ts';
import type { WebFixture } from './web-fixture.ts';

const readiness = async (fixture: WebFixture): Promise<[number, unknown]> => {
  const answer = await fetch(`${fixture.url}/readyz`);
  return [answer.status, await answer.json()];
};
const metricsOf = async (fixture: WebFixture): Promise<string> =>
  (await fixture.request('/metrics')).text();
const wait = { timeout: 15_000, interval: 200 };

describe('readiness', () => {
  let fixture: WebFixture;
  beforeEach(async () => {
    fixture = await startFixture();
  });
  afterEach(() => fixture.close());

  it('is not ready while migrations are missing, and names the command', async () => {
    await fixture.test.sql`
      delete from purser.migrations where version = (select max(version) from purser.migrations)`;
    await expect
      .poll(() => readiness(fixture), wait)
      .toEqual([
        503,
        {
          ready: false,
          notReady: [{ part: 'migrations', reason: '1 to apply; run: purser migrate up' }],
        },
      ]);
  });

  it('is not ready when applied migrations differ from the files', async () => {
    await fixture.test.sql`update purser.migrations set checksum = 'other' where version = 1`;
    const expected = [{ part: 'migrations', reason: 'migration_changed' }];
    await expect
      .poll(() => readiness(fixture), wait)
      .toEqual([503, { ready: false, notReady: expected }]);
  });

  it('compares the files once: later files belong to the next process', async () => {
    await expect.poll(() => readiness(fixture), wait).toEqual([200, { ready: true }]);
    await fixture.test.sql`update purser.migrations set checksum = 'other' where version = 1`;
    await sleep(1_000);
    expect(await readiness(fixture)).toEqual([200, { ready: true }]);
    await fixture.test.sql`delete from purser.migrations where version = 1`;
    await expect.poll(async () => (await readiness(fixture))[0], wait).toBe(503);
  });

  it('is ready on a database that is a release ahead', async () => {
    await fixture.test.sql`
      insert into purser.migrations (version, name, checksum)
      values (9999, '9999_later', 'later')`;
    await expect.poll(() => readiness(fixture), wait).toEqual([200, { ready: true }]);
    await fixture.test.sql`delete from purser.migrations where version = 9999`;
  });

  it('stays ready while Postgres does not answer, and names it as degraded', async () => {
    await expect.poll(() => readiness(fixture), wait).toEqual([200, { ready: true }]);
    await fixture.test.sql.begin(async (tx) => {
      await tx`lock table purser.migrations in access exclusive mode`;
      await expect
        .poll(() => readiness(fixture), wait)
        .toEqual([200, { ready: true, degraded: [{ part: 'postgres', reason: 'no_answer' }] }]);
      expect((await fetch(`${fixture.url}/healthz`)).status).toBe(200);
      const [asked] = await tx<{ waiting: number }[]>`
        select count(*)::int as waiting from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock'`;
      // Probes share one request: they cannot use up the pool.
      expect(asked?.waiting).toBe(1);
    });
    await expect.poll(() => readiness(fixture), wait).toEqual([200, { ready: true }]);
  });

  it('names the part only, without the error', async () => {
    await fixture.database.system.end({ timeout: 1 });
    await expect
      .poll(() => readiness(fixture), wait)
      .toEqual([503, { ready: false, notReady: [{ part: 'postgres', reason: 'not_reachable' }] }]);
    expect(fixture.logged.join('')).not.toContain(credentials.password);
    const metrics = await (await fixture.request('/metrics')).text();
    expect(metrics).toContain('purser_store_up{store="postgres"} 0');
    expect(metrics).toContain('purser_store_up{store="queue"} 1');
    expect(metrics).toContain('purser_queue_entries{queue="dead-letter",state="delayed"} 0');
    expect(metrics).not.toMatch(/^purser_(jobs|processes|oldest_waiting_job_seconds)\b/m);
    expect((await fixture.request('/queues/api/queues')).status).toBe(200);
  });
});

describeOnRedis('readiness with a Redis that never answered', () => {
  it('is not ready at once', async () => {
    const fixture = await startFixture(`redis://127.0.0.1:${await freePort()}`);
    const expected = [{ part: 'queue_store', reason: 'not_reachable' }];
    expect(await readiness(fixture)).toEqual([503, { ready: false, notReady: expected }]);
    await fixture.close();
  });
});

describeOnRedis('readiness with Redis', () => {
  let redis: TestRedis;
  let fixture: WebFixture;
  beforeAll(async () => {
    redis = await startRedis();
    fixture = await startFixture(redis.url);
  });
  afterAll(async () => {
    await fixture.close();
    await redis.stop();
  });

  it('outlasts an outage of the queue store, which it names as degraded', async () => {
    await expect.poll(() => readiness(fixture), wait).toEqual([200, { ready: true }]);
    await redis.kill();
    await expect
      .poll(() => readiness(fixture), wait)
      .toEqual([
        200,
        { ready: true, degraded: [{ part: 'queue_store', reason: 'not_reachable' }] },
      ]);
    await expect.poll(() => metricsOf(fixture), wait).toContain('purser_store_up{store="queue"} 0');
    const text = await metricsOf(fixture);
    expect(text).toContain('purser_store_up{store="postgres"} 1');
    expect(text).toContain('jobs{state="pending"} 0');
    await redis.start();
    await expect.poll(() => readiness(fixture), wait).toEqual([200, { ready: true }]);
  });
});
