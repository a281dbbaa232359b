/** A write that is repeated under its Idempotency-Key acts once and is answered as before, also in a race. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  answerOnce,
  removeExpiredAnswers,
} from '../../../../src/operations/idempotency/answers.ts';
import { startWeb } from '../../../../src/web/web.ts';
import type { WebService } from '../../../../src/web/web.ts';
import { addTenant } from '../../../support/tenants.ts';
import { bearer, makeToken } from '../../access/access-fixture.ts';
import { credentials, startFixture } from '../../web-fixture.ts';
import type { WebFixture } from '../../web-fixture.ts';
import { askWith, jobsOf, program } from '../api-fixture.ts';
import type { Ask } from '../api-fixture.ts';

let fixture: WebFixture;
let second: WebService;
let tenantId: string;
let ask: Ask;
/** The same program, by another process. */
let askSecond: Ask;
beforeAll(async () => {
  fixture = await startFixture();
  const database = await fixture.test.open();
  second = await startWeb({
    ...fixture,
    database,
    jobTypes: () => Promise.resolve(['report']),
    credentials,
    version: '1',
    host: '127.0.0.1',
    port: 0,
  });
  const headers = bearer(await makeToken(fixture, { role: 'admin' }));
  ask = askWith(fixture, headers);
  askSecond = askWith({ url: `http://127.0.0.1:${second.port}` }, headers);
});
afterAll(async () => {
  await second.stop();
  await fixture.close();
});
beforeEach(async () => {
  tenantId = await addTenant(fixture.database.system, { limitUsd: '10' });
});

const job = () => ({ tenantId, jobType: 'report', payload: { month: '2026-11' } });

const acts = async (act: string): Promise<number> => {
  const [row] = await fixture.database.system<{ count: number }[]>`
    select count(*)::int as count from operator_acts where act = ${act} and tenant_id = ${tenantId}`;
  return row?.count ?? 0;
};

describe('a repeated write', () => {
  it('is answered as before, and makes no second job', async () => {
    const first = await ask('/jobs', { body: job(), key: 'one' });
    expect(first.status).toBe(201);
    expect(first.headers.get('idempotency-replayed')).toBeNull();
    const again = await askSecond('/jobs', { body: job(), key: 'one' });
    expect([again.status, again.json]).toEqual([201, first.json]);
    expect(again.headers.get('idempotency-replayed')).toBe('true');
    expect(await jobsOf(fixture, tenantId)).toBe(1);
  });

  it('tops up once, and is answered with the budget of that moment', async () => {
    const path = `/tenants/${tenantId}/budget/top-up`;
    const body = { usd: '2.50', reason: 'more work' };
    const first = await ask(path, { body, key: `${tenantId} top-up`.replace(' ', '-') });
    expect([first.status, first.json.topUpUsd]).toEqual([200, '2.5']);
    await ask(path, { body });
    const again = await ask(path, { body, key: `${tenantId} top-up`.replace(' ', '-') });
    expect(again.json).toEqual(first.json);
    expect((await ask(`/tenants/${tenantId}/budget`)).json.topUpUsd).toBe('5');
    expect(await acts('budget_top_up')).toBe(2);
  });

  it('with another body, path or method is 422 and does nothing', async () => {
    const key = `of-${tenantId}`;
    await ask('/jobs', { body: job(), key });
    const other = await ask('/jobs', { body: { ...job(), priority: 1 }, key });
    expect([other.status, other.json.code]).toEqual([422, 'idempotency_key_reused']);
    const top = await ask(`/tenants/${tenantId}/budget/top-up`, {
      body: { usd: '1', reason: 'x' },
      key,
    });
    expect([top.status, top.json.code]).toEqual([422, 'idempotency_key_reused']);
    expect(await acts('budget_top_up')).toBe(0);
    expect(await jobsOf(fixture, tenantId)).toBe(1);
  });

  it('of another token is another write', async () => {
    const key = `shared-${tenantId}`;
    await ask('/jobs', { body: job(), key });
    const other = await program(fixture, 'operator');
    expect((await other('/jobs', { body: job(), key })).headers.get('idempotency-replayed')).toBe(
      null,
    );
    expect(await jobsOf(fixture, tenantId)).toBe(2);
  });

  it('that was refused may be sent again under its key', async () => {
    const key = `refused-${tenantId}`;
    const body = { ...job(), payload: { tooLarge: 2 ** 60 } };
    expect((await ask('/jobs', { body, key })).json.code).toBe('invalid_payload');
    expect((await ask('/jobs', { body: job(), key })).status).toBe(201);
  });

  it('acts again when its key has expired, which a sweep removes', async () => {
    const { system } = fixture.database;
    const key = `old-${tenantId}`;
    await ask('/jobs', { body: job(), key });
    await system`update purser.idempotency_keys set expires_at = now() - interval '1 second'`;
    expect((await ask('/jobs', { body: { ...job(), priority: 2 }, key })).status).toBe(201);
    expect(await jobsOf(fixture, tenantId)).toBe(2);
    await system`update purser.idempotency_keys set expires_at = now() - interval '1 second'`;
    expect(await removeExpiredAnswers(system)).toBeGreaterThan(0);
    expect(await removeExpiredAnswers(system)).toBe(0);
  });

  it('is checked against the role and the limits before its answer is told', async () => {
    const { system } = fixture.database;
    const limited = await program(fixture, 'operator', { name: `l-${tenantId}` });
    const key = `limits-${tenantId}`;
    expect((await limited('/jobs', { body: job(), key })).status).toBe(201);
    await system`update api_tokens set tenants = '{other}' where name = ${`l-${tenantId}`}`;
    expect((await limited('/jobs', { body: job(), key })).status).toBe(403);
  });
});

describe('the key', () => {
  it.each([
    ['/jobs', () => job()],
    ['/schedules/report/run', () => ({ tenantId })],
  ])('is needed by %s', async (path, body) => {
    const answer = await ask(path, { body: body(), key: null });
    expect([answer.status, answer.json.code]).toEqual([400, 'idempotency_key_required']);
    expect(await jobsOf(fixture, tenantId)).toBe(0);
  });

  it('is not needed where a repetition changes nothing', async () => {
    const body = { scope: 'tenant', name: tenantId, reason: 'quiet' };
    expect((await ask('/pauses', { body, key: null })).status).toBe(200);
  });

  it.each([
    ['has a blank', 'a b'],
    ['is too long', 'x'.repeat(256)],
    ['is not ASCII', '\u00e9'],
  ])('is refused where it %s', async (_, key) => {
    const answer = await ask('/jobs', { body: job(), key });
    expect([answer.status, answer.json.code]).toEqual([400, 'invalid_idempotency_key']);
  });

  it('and what is kept with it have no value of a payload', async () => {
    const key = `secret-key-${tenantId}`;
    await ask('/jobs', { body: { ...job(), payload: { note: 'canary-of-a-payload' } }, key });
    const rows = await fixture.database.system<{ text: string }[]>`
      select k::text as text from purser.idempotency_keys k`;
    expect(rows.length).toBeGreaterThan(0);
    expect(rows.filter(({ text }) => /canary|secret-key/.test(text))).toEqual([]);
  });
});

describe('two at once', () => {
  it('the second is told so where the first has not ended when its lock timeout passes', async () => {
    const { system } = await fixture.test.open({ systemConnections: 2 });
    const request = {
      operator: { name: 'x', proof: 'token' },
      key: `open-${tenantId}`,
      method: 'POST',
      path: '/',
      body: Buffer.of(),
    } as const;
    const act = () => Promise.resolve({ status: 200, answer: {} });
    await system.begin(async (tx) => {
      await answerOnce(tx, request, act);
      const second = system.begin(async (other) => {
        await other`select set_config('lock_timeout', '50ms', true)`;
        return answerOnce(other, request, act);
      });
      await expect(second).rejects.toMatchObject({ code: 'idempotency_key_in_use', status: 409 });
    });
    expect(await system.begin((tx) => answerOnce(tx, request, act))).toMatchObject({
      isRepeated: true,
    });
  });

  it('make one job and get one answer, by two processes', async () => {
    for (let round = 0; round < 10; round += 1) {
      const key = `race-${round}-${tenantId}`;
      const both = await Promise.all(
        [ask, askSecond, ask, askSecond].map((each) => each('/jobs', { body: job(), key })),
      );
      expect(both.map(({ status }) => status)).toEqual([201, 201, 201, 201]);
      expect(new Set(both.map(({ json }) => json.jobId)).size).toBe(1);
      const replayed = both.filter(({ headers }) => headers.has('idempotency-replayed'));
      expect(replayed).toHaveLength(3);
      expect(await jobsOf(fixture, tenantId)).toBe(round + 1);
    }
  });

  it('the second waits for the first, whose rollback leaves it the key', async () => {
    const { system } = await fixture.test.open();
    const holder = await system.reserve();
    await holder`begin`;
    await holder`select from tenants where id = ${tenantId} for update`;
    const key = `waits-${tenantId}`;
    const both = [ask, askSecond].map((each) => each('/jobs', { body: job(), key }));
    // One waits for the tenant, the other for the key.
    await expect
      .poll(
        async () => {
          const [row] = await system<{ waiting: number }[]>`
          select count(*)::int as waiting from pg_stat_activity
          where datname = current_database() and wait_event_type = 'Lock'`;
          return row?.waiting;
        },
        { timeout: 20_000 },
      )
      .toBe(2);
    await holder`rollback`;
    holder.release();
    const answers = await Promise.all(both);
    expect(answers.map(({ status }) => status)).toEqual([201, 201]);
    expect(await jobsOf(fixture, tenantId)).toBe(1);
  });
});
