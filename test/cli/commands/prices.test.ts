/** `purser prices sync|show|set|clear`. */
import { afterEach, describe, expect, it } from 'vitest';
import { priceOf } from '../../../src/budget/prices/in-force.ts';
import { useCliDatabase } from '../cli-database.ts';

const cli = useCliDatabase();
const { invoke } = cli;
afterEach(async () => {
  await cli.sql`alter table llm_price_versions disable trigger append_only`;
  await cli.sql`delete from llm_price_versions`;
  await cli.sql`alter table llm_price_versions enable trigger append_only`;
});

const iso = /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z/.source;
const why = ['--reason', 'contract', '--by', 'alice'];
const set = (...options: string[]) => invoke('prices', 'set', ...options, ...why);
const priced = (model: string, tenantId?: string) =>
  priceOf(cli.sql, { tenantId, model, baseUrl: 'https://api.groq.com/openai/v1' });

describe('set', () => {
  it('prices a model from now on, says what it costs, and repeated changes nothing', async () => {
    const args = ['--model', 'llama3.1:8b', '--input', '0.050', '--output', '0.1'];
    const first = await set(...args);
    expect(first).toMatchObject({ code: 0, err: '' });
    expect(first.out).toMatch(
      new RegExp(
        `^version \\d+: llama3.1:8b costs input 0.05, output 0.1 \\(USD per million tokens\\) from ${iso} on$`,
      ),
    );
    expect(await priced('llama3.1:8b')).toMatchObject({
      source: 'operator',
      rates: { input: { usd: '0.05' }, output: { usd: '0.1' } },
    });
    expect((await set(...args)).out).toMatch(/^unchanged: llama3.1:8b costs input 0.05/);
  });

  it('takes every class, tiers, a provider, a tenant and a time', async () => {
    const line =
      `--model m --provider groq --tenant ${cli.tenantId} --input 1.25,200000:2.50 --output 10 --cache-read 0.31 ` +
      '--cache-write 1.5 --per-request 0.005 --rate reasoning=12 --rate web_search=35 --from 2026-03-01 --json';
    const { code, out } = await set(...line.split(' '));
    expect([code, JSON.parse(out)]).toEqual([
      0,
      {
        version: expect.stringMatching(/^\d+$/),
        tenantId: cli.tenantId,
        provider: 'groq',
        model: 'm',
        rates: {
          input: { usd: '1.25', tiers: [{ aboveInputTokens: 200_000, usd: '2.5' }] },
          output: { usd: '10' },
          cache_read: { usd: '0.31' },
          cache_write: { usd: '1.5' },
          request: { usd: '5' },
          reasoning: { usd: '12' },
          web_search: { usd: '35' },
        },
        validFrom: '2026-03-01T00:00:00.000Z',
        until: null,
        reason: 'contract',
        by: 'alice',
      },
    ]);
    expect((await priced('m', cli.tenantId)).rates).toEqual(JSON.parse(out).rates);
    await expect(priced('m')).rejects.toMatchObject({ code: 'model_unpriced' });
    const shown = await invoke('prices', 'show', '--history');
    expect(shown.out).toContain('1.25,200000:2.5');
    expect(shown.out).toMatch(/0.005 +reasoning=12 web_search=35 +yes +2\S+ +alice +contract/);
  });

  it('notes that a later version replaces a price from the past', async () => {
    const rates = ['--model', 'm', '--input', '1', '--output'];
    await set(...rates, '1', '--from', '2026-02-01T00:00:00+01:00');
    const { code, err } = await set(...rates, '2', '--from', '2026-01-01');
    expect([code, err]).toEqual([
      0,
      'another version of m replaces this from 2026-01-31T23:00:00.000Z on; see: purser prices show --history',
    ]);
  });

  const good = ['--model', 'm', '--input', '1', '--output', '1'];
  it.each([
    [[...good, '--input=-1'], 64, '--input must be US dollars per million tokens, e.g. 0.25'],
    ...['1e3', 'NaN', '', '$1', '1,5', '1234567890', '1,5:', '1,:5', '1,5:5,5:6', '.5', '0x1'].map(
      (usd) => [['--model', 'm', '--input', '1', `--output=${usd}`], 64, '--output '] as const,
    ),
    [[...good, '--per-request', '1234567'], 64, '--per-request must be US dollars per request'],
    [[...good, '--rate', 'thinking=1'], 64, '--rate must be CLASS=USD with one of the classes'],
    [[...good, '--rate', 'reasoning'], 64, '--rate must be CLASS=USD'],
    [[...good, '--rate', 'reasoning=x'], 64, '--rate reasoning must be US dollars'],
    [[...good, '--rate', 'input=2'], 64, 'the rate of input is given twice'],
    [['--model', '', '--input', '1', '--output', '1'], 64, '--model: the model name "" is empty'],
    [[...good, '--model', 'a\u200b'], 64, 'has an invisible character'],
    [[...good, '--model', 'x'.repeat(201)], 64, 'is longer than 200 characters'],
    [[...good, '--provider', 'opnai'], 64, 'there is no provider "opnai"; use the host'],
    [[...good, '--provider', ''], 64, 'there is no provider ""'],
    [[...good, '--provider', 'https://x.example'], 64, 'there is no provider "https://x.example"'],
    [[...good, '--tenant', ''], 64, '--tenant must name a tenant'],
    [[...good, '--tenant', 'nobody'], 1, 'there is no tenant "nobody"'],
    ...['tomorrow', '2026-02-30', '2026-13-01', '2026-01-01T00:00', '1.1.2026', '1969-12-31'].map(
      (time) => [[...good, `--from=${time}`], 64, '--from must be a date or a time'] as const,
    ),
    [[...good, '--reason', ' '], 64, '--reason must not be empty'],
    [['--model', 'm', '--output', '1'], 64, '--input USD is missing'],
  ] as const)('refuses %j', async (args, code, err) => {
    const answer = await invoke('prices', 'set', ...why, ...args);
    expect(answer).toMatchObject({ code, out: '', err: expect.stringContaining(err) });
    expect(await cli.sql`select from llm_price_versions`).toHaveLength(0);
  });
});

describe('clear', () => {
  it('ends a price, so that the next one counts again', async () => {
    const scope = ['--model', 'gpt-4o', '--tenant', cli.tenantId];
    await set(...scope, '--input', '1', '--output', '1');
    const { code, out } = await invoke('prices', 'clear', ...scope, ...why);
    expect(code).toBe(0);
    expect(out).toMatch(
      new RegExp(
        `^version \\d+: gpt-4o for tenant ${cli.tenantId} has no price of its own from ${iso} on$`,
      ),
    );
    const call = await priceOf(cli.sql, { tenantId: cli.tenantId, model: 'gpt-4o' });
    expect(call.source).toBe('genai-prices');
    expect((await invoke('prices', 'clear', ...scope, ...why)).out).toMatch(/^unchanged: /);
    // What is ended is told by the history alone.
    expect((await invoke('prices', 'show')).out).toContain('no price is stored');
    expect((await invoke('prices', 'show', '--history')).out).toMatch(/gpt-4o +2\S+ +none/);
  });
});

it('clear refuses a tenant that is not there, and a model that has no name', async () => {
  const clear = (...args: string[]) => invoke('prices', 'clear', ...why, ...args);
  expect(await clear('--model', 'm', '--tenant', 'nobody')).toMatchObject({
    code: 1,
    err: expect.stringContaining('there is no tenant "nobody"'),
  });
  expect(await clear('--model', '')).toMatchObject({ code: 64 });
});

describe('sync', () => {
  it('stores what is published, by provider and model, says what changed, and then nothing', async () => {
    const one = await invoke('prices', 'sync', '--provider', 'openai', '--model', 'o3');
    expect(one.code).toBe(0);
    expect(one.out).toMatch(
      /o3 +- +input 10, cache_read 0.5, output 40, web_search 10 +-\n.* o3 +2025-06-10T00:00:00.000Z +input 2,/,
    );
    expect(one.out).toMatch(
      /1 published prices of @pydantic\/genai-prices \S+ compared: 2 new versions, 0 of them of a price that was stored before$/,
    );
    const all = await invoke('prices', 'sync', '--by', 'alice');
    expect(all.out).toMatch(
      /^new: anthropic \d+, .*openai \d+.*\n\d{4} published prices .*: \d{4} new versions, 0 of/,
    );
    expect((await invoke('prices', 'sync')).out).toMatch(/compared: no change$/);
    expect(await cli.json('prices', 'sync')).toMatchObject({ changes: [] });
    const [row] = await cli.sql<{ by: string }[]>`
      select by from llm_price_versions order by id desc limit 1`;
    expect(row?.by).toBe('alice');
  });

  it.each([
    [['--provider', 'opnai'], 64, 'no published prices of provider "opnai"; use anthropic'],
    [['--model', 'gpt-nothing'], 64, 'no model is published under the name "gpt-nothing"'],
    [['--from', 'yesterday'], 64, '--from must be a date or a time'],
  ])('refuses %j', async (args, code, err) => {
    const answer = await invoke('prices', 'sync', ...args);
    expect(answer).toMatchObject({ code, out: '', err: expect.stringContaining(err) });
  });
});

describe('show', () => {
  it('says which price a call has: of its tenant, of a stored version, or of the package', async () => {
    const show = async (...args: string[]) => (await invoke('prices', 'show', ...args)).out;
    expect(await show()).toBe(
      'no price is stored: published prices are read from the package; see: purser prices sync',
    );
    expect(await show('--model', 'gpt-4o-mini')).toMatch(
      /^a call of gpt-4o-mini is priced by @pydantic\/genai-prices \S+, which is not stored: input 0.15, .*output 0.6/,
    );
    await invoke('prices', 'sync', '--provider', 'openai');
    expect(await show('--model', 'gpt-4o-mini-2024-07-18')).toMatch(
      /gpt-4o-mini +- +0.15 +0.6 +0.075[^]*\na call of gpt-4o-mini-2024-07-18 is priced by version \d+ \(genai-prices\)$/,
    );
    await set('--model', 'gpt-4o-mini', '--tenant', cli.tenantId, '--input', '9', '--output', '9');
    const mine = await show('--model', 'gpt-4o-mini', '--tenant', cli.tenantId);
    const [version = ''] = /^\d+(?= +operator)/m.exec(mine) ?? [];
    expect(mine).toContain(
      `a call of gpt-4o-mini for tenant ${cli.tenantId} is priced by version ${version} (operator)`,
    );
    expect(await show('--model', 'gpt-4o-mini', '--provider', 'openai')).toMatch(
      /a call of gpt-4o-mini at openai is priced by version \d+ \(genai-prices\)$/,
    );
    const json = await cli.json('prices', 'show', '--model', 'gpt-4o-mini', '--provider', 'groq');
    expect(json).toMatchObject({
      versions: [{ tenantId: cli.tenantId, rates: { input: { usd: '9' } }, inForce: true }],
    });
  });

  it('refuses a model without any price, and an unknown tenant', async () => {
    expect(await invoke('prices', 'show', '--model', 'nothing-known')).toMatchObject({
      code: 1,
      out: '',
      err: expect.stringContaining("purser prices set --model 'nothing-known'"),
    });
    expect(await invoke('prices', 'show', '--tenant', 'nobody')).toMatchObject({
      code: 1,
      err: expect.stringContaining('there is no tenant "nobody"'),
    });
    await set('--model', 'm', '--tenant', cli.tenantId, '--input', '1', '--output', '1');
    expect((await invoke('prices', 'show', '--model', 'm')).out).toMatch(
      /a call of m has no price and is refused$/,
    );
  });
});
