/** Which failures of calls open which breaker, what a call does that meets one, and how it closes. */
import { expect, it } from 'vitest';
import { connect } from '../../../src/db/connect.ts';
import { useWorkers } from './workers.ts';

const fleet = useWorkers();
const { worker, failing, tenants, stateOf, untilState, endPauses } = fleet;

const modelM = 'model:openai/m';
const modelN = 'model:openai/n';
const credential = 'credential:openai/platform';
const status = (code: number, headers: Record<string, string> = {}) =>
  ({ kind: 'status', status: code, headers }) as const;
const open = { code: 'llm_circuit_open', status: 429, details: { class: 'park' } };

it('5xx of three tenants open the model for every worker, and no other model', async () => {
  const one = worker();
  const other = worker();
  const ids = await tenants(4);
  const [last = ''] = ids.slice(3);
  await other.call(last);
  await failing(one, [...ids.slice(0, 3), ...ids.slice(0, 2)], status(503), 'llm_overloaded');
  await untilState(modelM, 'open');
  expect([await stateOf(credential), await stateOf(modelN)]).toEqual([undefined, undefined]);
  const sent = fleet.provider.received.length;
  one.clock.ms += 1_000;
  other.clock.ms += 1_000;
  for (const each of [one, other]) {
    await expect(each.call(last)).rejects.toMatchObject({
      ...open,
      details: {
        class: 'park',
        provider: 'openai',
        model: 'm',
        breakers: [modelM],
        retryAfterMs: expect.any(Number),
        until: expect.stringMatching(/Z$/),
        neededUsd: expect.stringMatching(/^0\.0/),
      },
    });
  }
  expect(fleet.provider.received).toHaveLength(sent);
  expect((await other.call(last, { model: 'n' })).analyst.model).toBe('n');
  const ladder = { fallbacks: [{ model: 'n' }] };
  expect((await other.call(last, ladder)).analyst.model).toBe('n');
  expect(await one.metrics.registry.metrics()).toContain(
    'llm_breaker_changes_total{kind="model",state="open"} 1',
  );
});

it('what a tenant sends wrongly, and what one tenant alone meets, opens nothing', async () => {
  const one = worker();
  const [a = '', b = '', c = ''] = await tenants(3);
  for (const id of [a, b, c]) await one.call(id);
  await failing(
    one,
    Array.from({ length: 8 }, () => a),
    status(500),
    'llm_provider_error',
  );
  await failing(
    one,
    Array.from({ length: 8 }, () => b),
    status(429),
    'llm_rate_limited',
  );
  await failing(
    one,
    Array.from({ length: 8 }, () => c),
    status(403),
    'llm_forbidden',
  );
  await failing(one, [a, b, c, a, b, c], status(404), 'llm_model_not_found');
  await failing(one, [a, b, c, a, b, c], status(400), 'llm_bad_request');
  await one.close();
  expect([await stateOf(modelM), await stateOf(credential)]).toEqual([undefined, undefined]);
});

it('a single tenant opens a model and a credential where nobody else calls', async () => {
  const one = worker();
  const [a = ''] = await tenants(2);
  await failing(
    one,
    Array.from({ length: 5 }, () => a),
    status(500),
    'llm_provider_error',
  );
  await untilState(modelM, 'open');
  one.clock.ms += 1_000;
  await expect(one.call(a)).rejects.toMatchObject(open);
  await failing(
    one,
    Array.from({ length: 5 }, () => a),
    status(429),
    'llm_rate_limited',
    { model: 'n' },
  );
  await untilState(credential, 'open');
});

it('two of three tenants do not open a model; those that call are asked for, not those that there are', async () => {
  const one = worker();
  const [a = '', b = '', c = ''] = await tenants(3);
  await one.call(c, { model: 'n' });
  const pair = [a, b, a, b, a];
  await failing(one, pair, status(500), 'llm_provider_error');
  await untilState(modelM, 'open');
  await failing(one, pair, status(500), 'llm_provider_error', { model: 'n' });
  await one.close();
  expect(await stateOf(modelN)).toBe(undefined);
});

it.each([
  ['401', status(401), 'llm_auth'],
  ['402', status(402), 'llm_quota_exhausted'],
] as const)(
  '%s of one tenant opens the credential that all share, for every model',
  async (_, fault, code) => {
    const one = worker();
    const [a = '', b = ''] = await tenants(2);
    await one.call(b);
    await failing(one, [a, a, a, a, a], fault, code);
    await untilState(credential, 'open');
    expect(await stateOf(modelM)).toBe(undefined);
    one.clock.ms += 1_000;
    await expect(one.call(b, { model: 'n' })).rejects.toMatchObject(open);
  },
);

it('lost connections, timeouts and broken streams count as 5xx do', async () => {
  const one = worker(undefined, 1_000);
  const ids = await tenants(5);
  const [a = '', b = '', c = '', d = '', e = ''] = ids;
  await failing(one, [a, b], { kind: 'drop' }, 'llm_connection_lost');
  await failing(one, [c], { kind: 'hang' }, 'llm_timeout');
  const broken = [
    [d, { kind: 'stream', fault: 'cut' }, 'llm_connection_lost'],
    [e, { kind: 'hang' }, 'llm_timeout'],
  ] as const;
  for (const [tenantId, fault, code] of broken) {
    expect(await stateOf(modelM)).toBe(undefined);
    fleet.provider.script(fault);
    await expect(one.stream(tenantId)).rejects.toMatchObject({ code });
  }
  await untilState(modelM, 'open');
  one.clock.ms += 1_000;
  await expect(one.stream(a)).rejects.toMatchObject(open);
});

it('of fifty calls on five workers exactly one is the probe; its answer closes for all', async () => {
  const ids = await tenants(5);
  await failing(worker(), ids, status(502), 'llm_gateway_error');
  await untilState(modelM, 'open');
  await endPauses();
  const wide = connect(fleet.database.url, { max: 20, applicationName: 'purser test fleet' });
  const workers = Array.from({ length: 5 }, () => worker(wide));
  const sent = fleet.provider.received.length;
  let answer = (): void => {};
  fleet.provider.script({ kind: 'answer', until: new Promise<void>((go) => (answer = go)) });
  const calls = workers.flatMap((each) =>
    Array.from({ length: 10 }, (_, n) => each.call(ids[n % 5] ?? '')),
  );
  let refused = 0;
  for (const call of calls) call.catch(() => (refused += 1));
  await expect
    .poll(() => [refused, fleet.provider.received.length - sent], { timeout: 60_000 })
    .toEqual([49, 1]);
  expect(await stateOf(modelM)).toBe('probing');
  answer();
  const ended = await Promise.allSettled(calls);
  expect(ended.filter((one) => one.status === 'fulfilled')).toHaveLength(1);
  await untilState(modelM, 'closed');
  for (const each of workers) {
    each.clock.ms += 1_000;
    await each.call(ids[0] ?? '');
  }
  await wide.end({ timeout: 5 });
});

it('a probe that fails opens it for longer; one that shows nothing leaves it to the next call', async () => {
  const ids = await tenants(5);
  const one = worker();
  await failing(one, ids, status(500), 'llm_provider_error');
  await untilState(modelM, 'open');
  const probe = async (fault: ReturnType<typeof status>, code: string): Promise<void> => {
    await endPauses();
    one.clock.ms += 1_000;
    await failing(one, ids.slice(0, 1), fault, code);
    await untilState(modelM, 'open');
  };
  const pauses: number[] = [];
  for (let time = 0; time < 3; time += 1) {
    await probe(status(500), 'llm_provider_error');
    const [row] = await fleet.sql<{ opens: number; seconds: number }[]>`
      select opens, extract(epoch from until - changed_at)::float8 as seconds from llm_breakers`;
    expect(row?.opens).toBe(time + 2);
    pauses.push(row?.seconds ?? 0);
  }
  expect(pauses.every((seconds, n) => Math.abs(seconds / (20 * 2 ** n) - 1) <= 0.2)).toBe(true);
  await probe(status(401), 'llm_auth');
  const [row] = await fleet.sql`select opens, until <= clock_timestamp() as due from llm_breakers`;
  expect(row).toEqual({ opens: 4, due: true });
  one.clock.ms += 1_000;
  await one.call(ids[0] ?? '');
  await untilState(modelM, 'closed');
});

it('a probe that no budget admits, and one whose fallback is sent, are free for the next call', async () => {
  const ids = await tenants(5);
  const one = worker();
  await failing(one, ids, status(500), 'llm_provider_error');
  await untilState(modelM, 'open');
  await endPauses();
  const [poor = ''] = await tenants(1);
  await fleet.sql`update llm_budgets set monthly_limit_usd = 0.001 where tenant_id = ${poor}`;
  one.clock.ms += 1_000;
  await expect(one.call(poor, { maxOutputTokens: 1_000 })).rejects.toMatchObject({
    code: 'budget_exceeded',
  });
  await untilState(modelM, 'open');
  one.clock.ms += 1_000;
  const ladder = { maxOutputTokens: 1_000, fallbacks: [{ model: 'n', maxOutputTokens: 1 }] };
  expect((await one.call(poor, ladder)).analyst.model).toBe('n');
  await untilState(modelM, 'open');
  one.clock.ms += 1_000;
  await one.call(ids[0] ?? '', ladder);
  await untilState(modelM, 'closed');
});

it('a call that was in flight when it opened does not close it', async () => {
  const ids = await tenants(5);
  const one = worker();
  const sent = fleet.provider.received.length;
  let answer = (): void => {};
  fleet.provider.script({ kind: 'answer', until: new Promise<void>((go) => (answer = go)) });
  const slow = one.call(ids[0] ?? '');
  await expect.poll(() => fleet.provider.received.length).toBe(sent + 1);
  await failing(one, ids, status(500), 'llm_provider_error');
  await untilState(modelM, 'open');
  answer();
  await slow;
  await one.close();
  expect(await stateOf(modelM)).toBe('open');
});
