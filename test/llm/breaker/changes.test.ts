/** How breakers change in Postgres: pauses that grow, writes that are few, keys that are a tenant's own, and a hand. */
import { setImmediate, setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { connect } from '../../../src/db/connect.ts';
import { Breakers } from '../../../src/llm/breaker/breakers.ts';
import { changeBreakers, takeProbe } from '../../../src/llm/breaker/store.ts';
import { LlmError } from '../../../src/llm/llm.ts';
import { invokeWith } from '../../cli/in-process.ts';
import { TestClock, useWorkers } from './workers.ts';

const fleet = useWorkers();
const { tenants, untilState, stateOf } = fleet;

const failure = (code: string) => new LlmError(code, code, { class: 'retry', outcome: 'released' });
const route = (tenantId: string, providerKey?: string, model = 'm') => ({
  tenantId,
  provider: 'openai',
  model,
  providerKey,
});
/** Five failures of one route. */
function fail(breakers: Breakers, ...[of, code]: [ReturnType<typeof route>, string]): void {
  for (let time = 0; time < 5; time += 1) breakers.ended(of, 0, failure(code));
}

it('pauses double to ten minutes, and start again after five minutes without one', async () => {
  const model = {
    kind: 'model',
    key: 'openai/m',
    provider: 'openai',
    name: 'm',
    tenantId: undefined,
  } as const;
  const probe = '00000000-0000-4000-8000-000000000001';
  let now = Date.UTC(2030, 0, 1);
  const change = async (fields: object, afterMs = 0): Promise<number> => {
    now += afterMs;
    const [made] = await changeBreakers(
      fleet.sql,
      [{ ...model, error: 'x', ...fields }],
      'test',
      new Date(now),
    );
    return ((made?.until?.getTime() ?? now) - now) / 1_000;
  };
  const take = async (afterMs: number): Promise<boolean> => {
    now += afterMs;
    const names = ['model:openai/m'];
    return takeProbe(fleet.sql, { names, probe, leaseMs: 1_000, by: 'test', now: new Date(now) });
  };
  const seconds = [await change({ tenants: 3 })];
  for (let time = 0; time < 8; time += 1) {
    const pauseMs = (seconds.at(-1) ?? 0) * 1_000;
    expect([await take(Math.floor(pauseMs) - 2), await take(4)]).toEqual([false, true]);
    seconds.push(await change({ probe, result: 'failed' }));
  }
  const wanted = [10, 20, 40, 80, 160, 320, 600, 600, 600];
  expect(seconds.map((each, n) => Math.abs(each / (wanted[n] ?? 0) - 1) <= 0.2001)).toEqual(
    wanted.map(() => true),
  );
  await take(1_000_000);
  await change({ probe, result: 'ok' });
  expect(await change({ tenants: 3, retryAfterMs: 10 ** 9 }, 60_000)).toBeGreaterThanOrEqual(480);
  await take(1_000_000);
  await change({ probe, result: 'ok' });
  expect(await change({ tenants: 3, retryAfterMs: 300_000 }, 301_000)).toBe(300);
  const [row] = await fleet.sql`select opens from llm_breakers`;
  expect(row).toEqual({ opens: 1 });
});

it("a tenant's own key opens for that tenant alone, also where another names one equally", async () => {
  const [a = '', b = ''] = await tenants(2);
  const clock = new TestClock();
  const breakers = new Breakers({ sql: fleet.sql, clock });
  fail(breakers, route(a, 'own'), 'llm_auth');
  await untilState(`credential:openai/own/${a}`, 'open');
  clock.ms += 1_000;
  const found = await breakers.obstacles([
    route(a, 'own'),
    route(b, 'own'),
    route(a),
    route(a, 'other'),
  ]);
  expect(found.map((each) => each.length)).toEqual([1, 0, 0, 0]);
  // A slash in a name is not the one between names.
  fail(breakers, route('x', `own/${a}`), 'llm_auth');
  await breakers.close();
  expect(await fleet.sql`select key from llm_breakers`).toHaveLength(1);
});

it('a worker writes what changed at once in one statement, and once a second', async () => {
  const ids = await tenants(6);
  const clock = new TestClock();
  const writtenAtMs = new Set<number>();
  const breakers = new Breakers({
    sql: fleet.sql,
    clock,
    onChange: () => writtenAtMs.add(clock.ms),
  });
  const [last = '', ...first] = ids;
  for (const id of first) fail(breakers, route(id, 'own'), 'llm_auth');
  await setImmediate();
  fail(breakers, route(last, 'own'), 'llm_auth');
  await untilState(`credential:openai/own/${last}`, 'open');
  await breakers.close();
  const [row] = await fleet.sql`
    select count(*)::int as breakers, count(distinct xmin::text)::int as statements from llm_breakers`;
  expect(row).toEqual({ breakers: 6, statements: 2 });
  expect([...writtenAtMs]).toEqual([0, 1_000]);
  expect(clock.slept).toEqual([1_000]);
});

it('breakers that cannot be read or written keep no call, and what changed is written later', async () => {
  const away = new Breakers({
    sql: connect('postgres://purser@127.0.0.1:1/none', { max: 1, applicationName: 'away' }),
  });
  const [a = ''] = await tenants(1);
  expect(await away.obstacles([route(a)])).toEqual([[]]);
  fail(away, route(a, 'own'), 'llm_auth');
  await away.close();
  const one = fleet.worker();
  // Its time stands still: what could not be written is kept for 30 s of it.
  Object.assign(one.clock, { sleep: () => sleep(20) });
  await fleet.sql`alter table llm_breakers rename to away`;
  for (let time = 0; time < 5; time += 1) {
    fleet.provider.script({ kind: 'status', status: 401 });
    await expect(one.call(a)).rejects.toMatchObject({ code: 'llm_auth' });
  }
  await one.call(a);
  await fleet.sql`alter table away rename to llm_breakers`;
  await untilState('credential:openai/platform', 'open');
});

it('operators list breakers and close one by its name', async () => {
  const purser = invokeWith({ DATABASE_URL: fleet.database.url });
  expect((await purser('llm', 'breakers')).out).toBe('no circuit breaker has ever opened');
  const [a = ''] = await tenants(1);
  const breakers = new Breakers({ sql: fleet.sql });
  fail(breakers, route(a, 'own'), 'llm_forbidden');
  const name = `credential:openai/own/${a}`;
  await untilState(name, 'open');
  await breakers.close();
  expect((await purser('llm', 'breakers')).out).toMatch(
    new RegExp(`${name} +open .*llm_forbidden`),
  );
  expect((await purser('llm', 'breakers', 'reset', name, '--by', 'grace')).out).toContain(
    'is closed',
  );
  expect(await stateOf(name)).toBe('closed');
  expect((await purser('llm', 'breakers', 'reset', name, '--by', 'grace')).out).toContain(
    'was closed already',
  );
  expect(JSON.parse((await purser('llm', 'breakers', '--json')).out)).toMatchObject([
    { name, state: 'closed', until: null, by: 'grace', lastError: 'llm_forbidden' },
  ]);
  for (const wrong of ['model:openai/none', '', 'x'.repeat(5_000), '\u{0}']) {
    const { code, err } = await purser('llm', 'breakers', 'reset', wrong);
    expect([code, err]).toEqual([1, expect.stringContaining('there is no circuit breaker')]);
  }
  expect((await purser('llm', 'breakers', 'reset')).code).toBe(64);
});
