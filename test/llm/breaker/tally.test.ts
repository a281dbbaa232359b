/** Which ends of calls count for which breaker, and how many of whose calls open it. */
import { describe, expect, it } from 'vitest';
import { breakersOf } from '../../../src/llm/breaker/breaker-id.ts';
import type { BreakerId } from '../../../src/llm/breaker/breaker-id.ts';
import { Tally, verdictOf } from '../../../src/llm/breaker/tally.ts';
import { WritePace } from '../../../src/llm/breaker/write-pace.ts';
import { failureOfNetwork, failureOfStatus } from '../../../src/llm/failures.ts';
import { LlmError } from '../../../src/llm/llm.ts';
import { openAiProtocol } from '../../../src/llm/openai.ts';

const host = 'api.openai.com';
const context = { host, protocol: openAiProtocol, model: 'm' };
const answered = (status: number, topic?: 'key' | 'credit' | 'size' | 'content') =>
  failureOfStatus(status, {
    ...context,
    ...(topic === undefined ? {} : { providerError: { topic } }),
  });
const network = (code: string) =>
  failureOfNetwork(Object.assign(new Error(code), { code }), host, openAiProtocol);
const other = (code: string) => new LlmError(code, code, { class: 'retry', outcome: 'unknown' });

describe('an end of a call', () => {
  it.each([
    ['an answer', undefined, 'ok', 'ok'],
    ['401', answered(401), 'failed', 'none'],
    ['402', answered(402), 'failed', 'none'],
    ['403', answered(403), 'failed', 'none'],
    ['429', answered(429), 'failed', 'none'],
    ['429 without credit', answered(429, 'credit'), 'failed', 'none'],
    ['400 for the key', answered(400, 'key'), 'failed', 'none'],
    ['400', answered(400), 'ok', 'ok'],
    ['404', answered(404), 'ok', 'ok'],
    ['413', answered(413), 'ok', 'ok'],
    ['400 of a filter', answered(400, 'content'), 'ok', 'ok'],
    ['408', answered(408), 'none', 'failed'],
    ['500', answered(500), 'none', 'failed'],
    ['502', answered(502), 'none', 'failed'],
    ['503', answered(503), 'none', 'failed'],
    ['504', answered(504), 'none', 'failed'],
    ['529', answered(529), 'none', 'failed'],
    ['no connection', network('ECONNREFUSED'), 'none', 'failed'],
    ['a lost connection', network('ECONNRESET'), 'none', 'failed'],
    ['a timeout', other('llm_timeout'), 'none', 'failed'],
    ['the end of its attempt', other('llm_aborted'), 'none', 'none'],
    ['an answer that cannot be read', other('llm_bad_response'), 'none', 'none'],
    ['a fault of ours', new Error('x'), 'none', 'none'],
  ] as const)('%s', (_, error, credential, model) => {
    expect([verdictOf('credential', error), verdictOf('model', error)]).toEqual([
      credential,
      model,
    ]);
  });
});

const [platform, model] = breakersOf({ tenantId: 'a', provider: 'openai', model: 'm' });
const [own] = breakersOf({ tenantId: 'a', provider: 'openai', model: 'm', providerKey: 'own' });

/** `a`, `b`, ... are failures of a tenant, capital letters its answers. */
function tripOf(id: BreakerId, calls: string, code = 'llm_rate_limited', everyMs = 1) {
  const tally = new Tally(id, 0);
  const trips = Array.from(calls).map((letter, at) =>
    tally.add({
      verdict: letter === letter.toUpperCase() ? 'ok' : 'failed',
      tenantId: letter.toLowerCase(),
      code,
      beganAtMs: at * everyMs,
      endedAtMs: at * everyMs,
    }),
  );
  return trips.at(-1);
}

describe('a breaker opens', () => {
  it.each([
    ['a model by five failures of three tenants', model, 'abcab', { tenants: 3 }],
    ['not by four', model, 'abca', undefined],
    [
      'nor by those of one, which Postgres compares with all that call',
      model,
      'aaaaa',
      { tenants: 1 },
    ],
    ['not where most tenants are answered', model, 'ABCDEFGabcabc', undefined],
    [
      'not by one whose calls all fail and the noise of others',
      model,
      'BBBCCCDDDaaaaaaaaaaaabca',
      undefined,
    ],
    ['where half of the tenants fail', model, 'DEFabcabc', { tenants: 3 }],
    ['a shared credential by 429 of three tenants in a row', platform, 'abcab', { tenants: 3 }],
    ['not where one of them was answered since', platform, 'abcaAb', undefined],
    ["a tenant's own by its own calls", own, 'aaaaa', { tenants: undefined }],
  ] as const)('%s', (_, id, calls, trip) => {
    const found = tripOf(id, calls);
    expect(found).toEqual(trip === undefined ? undefined : { code: 'llm_rate_limited', ...trip });
  });

  it('a shared credential by one tenant, where the key itself is refused or has no credit', () => {
    expect(tripOf(platform, 'aaaaa', 'llm_auth')).toEqual({ code: 'llm_auth', tenants: undefined });
    expect(tripOf(platform, 'aaaaa', 'llm_quota_exhausted')?.tenants).toBe(undefined);
    expect(tripOf(platform, 'aaaaa', 'llm_forbidden')?.tenants).toBe(1);
  });

  it('by calls of one minute, which began after it was closed', () => {
    expect(tripOf(model, 'abcab', 'x', 14_999)).toMatchObject({ tenants: 3 });
    expect(tripOf(model, 'abcab', 'x', 15_000)).toBe(undefined);
    const tally = new Tally(model, 100);
    const end = { verdict: 'failed', code: 'x', beganAtMs: 99, endedAtMs: 200 } as const;
    const ofOld = Array.from('abcabc').map((tenantId) => tally.add({ ...end, tenantId }));
    expect(ofOld.every((trip) => trip === undefined)).toBe(true);
    const ofNew = Array.from('abcab').map((tenantId) =>
      tally.add({ ...end, tenantId, beganAtMs: 100 }),
    );
    expect(ofNew.at(-1)).toMatchObject({ tenants: 3 });
  });

  it('after few tenants Postgres is asked again when there are more, or after ten seconds', () => {
    const tally = new Tally(model, 0);
    const fail = (tenantId: string, atMs: number) =>
      tally.add({ verdict: 'failed', tenantId, code: 'x', beganAtMs: atMs, endedAtMs: atMs })
        ?.tenants;
    for (let time = 0; time < 4; time += 1) fail('a', 0);
    expect([fail('a', 0), fail('a', 9_999), fail('b', 9_999), fail('b', 9_999)]).toEqual([
      1,
      undefined,
      2,
      undefined,
    ]);
    expect([fail('a', 19_998), fail('b', 19_999), fail('c', 19_999), fail('c', 20_000)]).toEqual([
      undefined,
      2,
      3,
      3,
    ]);
  });
});

it('turns at writing are a second apart, and one that would be later than it may is refused at once', async () => {
  let nowMs = 0;
  const slept: number[] = [];
  const pace = new WritePace({ now: () => nowMs, sleep: async (ms) => slept.push(ms) });
  expect(await pace.turn()).toBe(true);
  const turns = [pace.turn(1_000), pace.turn(1_000), pace.turn(500)];
  expect(await Promise.all(turns)).toEqual([true, false, false]);
  expect(slept).toEqual([1_000]);
  nowMs = 2_000;
  expect(await pace.turn(0)).toBe(true);
});
