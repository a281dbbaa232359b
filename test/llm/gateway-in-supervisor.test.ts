/** The gateway in this process with a handler in another thread: messages, counts and charges. */
import { Worker } from 'node:worker_threads';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createLlm } from '../../src/llm/create-llm.ts';
import type { LlmCall } from '../../src/llm/llm.ts';
import { createMetrics } from '../../src/metrics.ts';
import { packError } from '../../src/worker/executors/packed-errors.ts';
import type { PackedError } from '../../src/worker/executors/packed-errors.ts';
import { assertBooksRight } from '../support/ledger.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { countersOf, untilWaiting } from '../support/holds.ts';
import { silentLog } from '../support/llm-attempt.ts';
import { startProvider } from '../support/provider.ts';
import type { TestProvider } from '../support/provider.ts';
import { addTenant, startAttempt } from '../support/tenants.ts';

const model = 'a-dollar-per-mtok';
const bill = { prompt_tokens: 1000, completion_tokens: 50 };
/** 1,050 tokens at one dollar per million. */
const paid = { reserved: '0', spent: '0.00105', unknown: '0' };
const question = { system: 'Be brief.', prompt: 'Well?', json: false, maxOutputTokens: 100 };

let database: TestDatabase;
let provider: TestProvider;
beforeAll(async () => {
  database = await freshDatabase();
  await database.sql`
    insert into llm_prices (model, valid_from, input_usd_per_mtok, output_usd_per_mtok)
    values (${model}, '2020-01-01', 1, 1)`;
});
afterAll(() => database.close());
beforeEach(async () => {
  provider = await startProvider();
  provider.answerWith('{"summary": "ok"}', bill);
});
afterEach(async () => {
  await provider.stop();
  await assertBooksRight(database.sql);
});

/** The provider's next answer waits until the returned function is called. */
function holdAnswer(): () => void {
  let release = (): void => {};
  const until = new Promise<void>((resolve) => {
    release = resolve;
  });
  provider.script({ kind: 'answer', until });
  return () => release();
}

const untilRequested = () =>
  expect.poll(() => provider.received.length, { timeout: 20_000 }).toBe(1);

/** A gateway with one attempt of a new tenant. */
async function openAttempt(limitUsd = '1') {
  const metrics = createMetrics();
  const gateway = createLlm({
    provider: { kind: 'openai', model, baseUrl: provider.url, apiKey: 'k' },
    budgetSql: database.sql,
    metrics,
  });
  const tenantId = await addTenant(database.sql, { limitUsd });
  const attempt = await startAttempt(database.sql, tenantId);
  const controller = new AbortController();
  const { call } = gateway.forAttempt({ ...attempt, signal: controller.signal, log: silentLog });
  const counted = async () => {
    const { values } = await metrics.llmCalls.get();
    return Object.fromEntries(values.map(({ labels, value }) => [labels.status, value]));
  };
  return { gateway, tenantId, controller, call, counted };
}

type Opened = Awaited<ReturnType<typeof openAttempt>>;

type FromThread =
  | { readonly call: LlmCall }
  | { readonly valid: boolean }
  | { readonly answer: object }
  | { readonly is: string | undefined; readonly error: PackedError };

const script = new URL('executor-child.ts', import.meta.url).href;
/** `Worker` does not take a loader. */
const loader = `import('tsx/esm/api').then(({ register }) => {
  register();
  return import(${JSON.stringify(script)});
});`;

/** A handler thread that makes one call, and all messages that it sends. */
function startHandler({ gateway, call }: Opened, withSchema: boolean) {
  const worker = new Worker(loader, { eval: true, workerData: withSchema });
  const messages: Exclude<FromThread, { call: LlmCall }>[] = [];
  const calls: Promise<unknown>[] = [];
  const answer = async (asked: LlmCall): Promise<void> => {
    const message = await call(asked).then(
      (reply) => ({ reply }),
      (error: unknown) => ({ error: packError(error) }),
    );
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread is no window
    worker.postMessage(message);
  };
  const ended = new Promise<typeof messages>((resolve, reject) => {
    worker.on('message', (message: FromThread) => {
      if ('call' in message) calls.push(answer(message.call));
      else messages.push(message);
      if ('valid' in message) gateway.countAnswer(message.valid);
    });
    worker.on('error', reject);
    worker.on('exit', () => resolve(messages));
  });
  return { worker, calls, ended };
}

describe('a handler in another thread', () => {
  it('gets its validated answer, which is counted and charged once', async () => {
    const opened = await openAttempt();
    const messages = await startHandler(opened, true).ended;
    expect(messages).toEqual([
      { valid: true },
      {
        answer: {
          text: '{"summary": "ok"}',
          object: { summary: 'ok' },
          usage: { inputTokens: 1000, outputTokens: 50 },
          costUsd: '0.00105',
          analyst: { provider: 'openai', model, offline: false },
        },
      },
    ]);
    expect(await opened.counted()).toEqual({ ok: 1 });
    expect(await countersOf(database.sql, opened.tenantId)).toEqual(paid);
  });

  it('gets an LlmOutputError for an answer that does not match, which is counted and charged', async () => {
    provider.answerWith('{"summary": 7}', bill);
    const opened = await openAttempt();
    const messages = await startHandler(opened, true).ended;
    expect(messages).toMatchObject([{ valid: false }, { is: 'LlmOutputError' }]);
    expect(await opened.counted()).toEqual({ llm_output_invalid: 1 });
    expect(await countersOf(database.sql, opened.tenantId)).toEqual(paid);
  });

  it('gets a BudgetExceededError for a refused hold, and nothing is sent', async () => {
    const opened = await openAttempt('0.0001');
    const messages = await startHandler(opened, false).ended;
    expect(messages).toMatchObject([
      { is: 'BudgetExceededError', error: { fields: { fatal: true, status: 402 } } },
    ]);
    expect(provider.received).toHaveLength(0);
    expect(await opened.counted()).toEqual({ budget_exceeded: 1 });
  });

  it('gets an LlmError when its attempt is aborted, and the cost is unknown', async () => {
    provider.script({ kind: 'hang' });
    const opened = await openAttempt();
    const handler = startHandler(opened, false);
    await untilRequested();
    opened.controller.abort();
    expect(await handler.ended).toMatchObject([
      { is: 'LlmError', error: { fields: { code: 'llm_aborted' } } },
    ]);
    const { reserved, spent, unknown } = await countersOf(database.sql, opened.tenantId);
    expect({ reserved, spent }).toEqual({ reserved: '0', spent: '0' });
    expect(Number(unknown)).toBeGreaterThan(0);
    expect(await opened.counted()).toEqual({ llm_aborted: 1 });
  });

  it('that is killed while the provider works loses no usage: the answer is charged', async () => {
    const release = holdAnswer();
    const opened = await openAttempt();
    const handler = startHandler(opened, false);
    await untilRequested();
    await handler.worker.terminate();
    release();
    await Promise.all(handler.calls);
    expect(await countersOf(database.sql, opened.tenantId)).toEqual(paid);
    expect(await opened.counted()).toEqual({ ok: 1 });
  });
});

describe('the gateway', () => {
  it.each<[string, Partial<LlmCall>]>([
    ['no cap', { maxOutputTokens: 0 }],
    ['an infinite cap', { maxOutputTokens: Number.POSITIVE_INFINITY }],
    ['an empty model', { model: '' }],
  ])('validates a call again: %s is refused, nothing is held or sent', async (_name, wrong) => {
    const { call, tenantId, counted } = await openAttempt();
    await expect(call({ ...question, ...wrong })).rejects.toMatchObject({ code: 'usage' });
    expect(provider.received).toHaveLength(0);
    const rows = await database.sql`select from llm_reservations where tenant_id = ${tenantId}`;
    expect(rows).toHaveLength(0);
    expect(await counted()).toEqual({});
  });

  it('settles an answer that arrived before its attempt was aborted', async () => {
    const { call, tenantId, controller } = await openAttempt();
    const release = holdAnswer();
    const reply = call(question);
    await untilRequested();
    const blocker = await database.sql.reserve();
    try {
      await blocker`begin`;
      await blocker`select from llm_budget_periods where tenant_id = ${tenantId} for update`;
      release();
      await untilWaiting(database.sql, 1);
      controller.abort();
      await blocker`commit`;
    } finally {
      blocker.release();
    }
    expect(await reply).toMatchObject({ costUsd: '0.00105' });
    expect(await countersOf(database.sql, tenantId)).toEqual(paid);
  });
});
