/** Streams of handlers in the built threads: however an attempt ends, its stream is charged, and nothing is left open. */
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { createLlm } from '../../../src/llm/create-llm.ts';
import { countersOf } from '../../support/holds.ts';
import { useProvider } from '../../support/llm-attempt.ts';
import { addTenant, startAttempt } from '../../support/tenants.ts';
import { openPool } from '../../worker/executors/built-executors.ts';
import type { BuiltPool } from '../../worker/executors/built-executors.ts';

const handlers = `
import { execSync } from 'node:child_process';
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const ask = (ctx, more) => ctx.llm.stream({ system: 's', prompt: 'p', maxOutputTokens: 100, ...more });
const h = (type, run, more = {}) => ({ type, timeoutMs: 20_000, maxAttempts: 3, run, ...more });
export const handlers = [
  h('reads', async (ctx) => {
    const stream = ask(ctx);
    let read = '';
    for await (const text of stream) read += text;
    const { text, usage, costUsd } = await stream.answer;
    return { read, text, usage, costUsd };
  }),
  h('reads_late', async (ctx) => {
    const stream = ask(ctx);
    let length = 0;
    for await (const text of stream) {
      if (length === 0) await sleep(300);
      length += text.length;
    }
    return { length };
  }),
  h('awaits', async (ctx) => ({ length: (await ask(ctx).answer).text.length })),
  h('leaves', async (ctx) => { for await (const text of ask(ctx)) return { text }; }),
  h('throws', async (ctx) => { for await (const text of ask(ctx)) throw new Error('enough'); }),
  h('forgets', async (ctx) => { await ask(ctx)[Symbol.asyncIterator]().next(); }),
  h('never_begins', async (ctx) => { ask(ctx); }),
  h('waits', async (ctx) => { for await (const text of ask(ctx)); }, { timeoutMs: 2_000 }),
  h('blocks', async (ctx) => { for await (const text of ask(ctx)) for (;;); },
    { timeoutMs: 2_000, isolation: 'exclusive' }),
  h('exits', async (ctx) => { for await (const text of ask(ctx)) execSync('kill -9 $PPID'); }),
  h('quick', async (ctx) => { await ask(ctx).answer; }, { llmTimeoutMs: 200 }),
  h('late', async (ctx) => {
    setTimeout(() => {
      ask(ctx).answer.catch(({ code }) => { globalThis.lateCode = code; });
      ask(ctx).answer.catch(() => {});
    }, 50);
  }),
  h('tells', async () => { await sleep(200); return { code: globalThis.lateCode }; }),
];
`;
const content =
  'The umbrellas of Example Corp sell well, and the desert is a fine market for them.';

/** A hold of 0.10 USD; a token of output costs 0.001. */
const fixture = useProvider({ price: { model: 'ten-cents', input: 0, output: 1000 } });
let pool: BuiltPool;
let release: () => void;
let until: Promise<void>;

const openGateway = () =>
  createLlm({
    provider: { kind: 'openai', model: 'ten-cents', apiKey: 'k', baseUrl: fixture.provider.url },
    budgetSql: fixture.database.sql,
  });
// The gateway of the pool, to the provider of the test.
let gateway: ReturnType<typeof openGateway>;
const openThreads = () =>
  openPool(handlers, {
    threads: 1,
    llm: {
      analyst: { provider: 'openai', model: 'ten-cents', offline: false },
      forAttempt: (attempt) => gateway.forAttempt(attempt),
      countAnswer: (valid) => gateway.countAnswer(valid),
      close: () => gateway.close(),
    },
  });
beforeAll(async () => {
  pool = await openThreads();
});
afterAll(() => pool.close());
beforeEach(() => {
  gateway = openGateway();
  until = new Promise((resolve) => {
    release = resolve;
  });
});
afterEach(() => release());

async function run(jobType: string, more: { isolated?: boolean } = {}, threads = pool) {
  const tenantId = await addTenant(fixture.database.sql, { limitUsd: '1' });
  const { token, jobId } = await startAttempt(fixture.database.sql, tenantId);
  const end = await threads.run(jobType, { tenantId, token, jobId, ...more });
  const counters = () => countersOf(fixture.database.sql, tenantId);
  return { end, counters };
}

/** What the provider has in its book. */
const billed = () => {
  const [{ completion_tokens: tokens } = { completion_tokens: 0 }] = fixture.provider.billed;
  return { reserved: '0', spent: `${tokens / 1000}`, unknown: '0' };
};

it('a handler reads the text as it comes, and its answer', async () => {
  fixture.provider.script({ kind: 'stream', content });
  const { end, counters } = await run('reads');
  const [usage] = fixture.provider.billed;
  expect(end).toMatchObject({
    toState: 'completed',
    result: {
      read: content,
      text: content,
      usage: { inputTokens: usage?.prompt_tokens, outputTokens: usage?.completion_tokens },
      costUsd: billed().spent,
    },
  });
  expect(await counters()).toEqual(billed());
});

it.each(['reads_late', 'awaits'])('a handler that %s gets a long text whole', async (type) => {
  const long = 'some words '.repeat(50_000);
  fixture.provider.script({ kind: 'stream', content: long, pieces: 100 });
  const { end, counters } = await run(type);
  expect(end).toMatchObject({ toState: 'completed', result: { length: long.length } });
  expect(await counters()).toEqual(billed());
});

it.each([
  ['leaves', { toState: 'completed' }],
  ['throws', { toState: 'failed', error: { message: 'enough' } }],
  [
    'forgets',
    { error: { code: 'call_not_awaited', message: expect.stringContaining('ctx.llm.stream') } },
  ],
  ['waits', { toState: 'failed', error: { code: 'job_timeout' } }],
  ['blocks', { toState: 'failed', error: { code: 'job_timeout' } }],
])('the stream of a handler that %s is charged by its usage', async (type, expected) => {
  fixture.provider.script({ kind: 'stream', content, until });
  const { end, counters } = await run(type);
  expect(end).toMatchObject(expected);
  expect(await counters()).toEqual({ reserved: '0.1', spent: '0', unknown: '0' });
  release();
  await expect.poll(counters, { timeout: 10_000 }).toEqual(billed());
});

it('the stream of a process that dies is charged by its usage', async () => {
  // More than waits for a reader that does not read.
  const long = 'some words '.repeat(50_000);
  fixture.provider.script({ kind: 'stream', content: long, pieces: 100, until });
  const { end, counters } = await run('exits', { isolated: true });
  expect(end).toMatchObject({ suspect: true, lost: 'isolated' });
  expect(await counters()).toEqual({ reserved: '0.1', spent: '0', unknown: '0' });
  release();
  await expect.poll(counters, { timeout: 10_000 }).toEqual(billed());
});

it('a worker that stops ends what it reads for its usage alone, and waits for the ends of the holds', async () => {
  fixture.provider.script({ kind: 'stream', content, until });
  const stopping = await openThreads();
  const { counters } = await run('leaves', {}, stopping);
  expect(await counters()).toEqual({ reserved: '0.1', spent: '0', unknown: '0' });
  await stopping.close();
  expect(await counters()).toEqual({ reserved: '0', spent: '0', unknown: '0.1' });
});

it('a handler has its own timeout of calls', async () => {
  fixture.provider.script({ kind: 'stream', content, until });
  const { end } = await run('quick');
  expect(end).toMatchObject({
    error: { code: 'llm_timeout', message: expect.stringMatching(/within 200 ms/) },
  });
});

it('a stream that nobody reads sends nothing, and one of an ended attempt is refused', async () => {
  expect((await run('never_begins')).end).toMatchObject({ toState: 'completed' });
  expect((await run('late')).end).toMatchObject({ toState: 'completed' });
  expect((await run('tells')).end).toMatchObject({ result: { code: 'llm_aborted' } });
  expect(fixture.provider.received).toHaveLength(0);
});
