/** Streams in every wire protocol: the text as it comes, the answer at the end, and what it costs. */
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { parseUsd } from '../../../src/budget/money.ts';
import { countersOf } from '../../support/holds.ts';
import { llmAttempt, useProvider } from '../../support/llm-attempt.ts';
import { wireProtocols } from '../../support/provider-protocols.ts';
import type { WireProtocol } from '../../support/provider-protocols.ts';
import { addTenant } from '../../support/tenants.ts';

const apiKey = 'test-key-0123456789abcdef';
const question = { system: 'Be brief.', prompt: 'How are the costs?', maxOutputTokens: 200 };
const models = { openai: 'gpt-4o-mini', anthropic: 'claude-haiku-4-5', google: 'gemini-2.5-flash' };
const content = 'Storage costs rose by a third, 云计算成本上升, 👩‍🚀.';
const schema = z.object({ summary: z.string() });

const fixture = useProvider({ apiKey });

async function open(kind: WireProtocol) {
  const tenantId = await addTenant(fixture.database.sql, { limitUsd: '1' });
  const config = { kind, model: models[kind], apiKey, baseUrl: fixture.provider.urls[kind] };
  return llmAttempt(fixture.database.sql, tenantId, config);
}

async function textsOf(stream: AsyncIterable<string>): Promise<string[]> {
  const texts: string[] = [];
  for await (const text of stream) texts.push(text);
  return texts;
}

async function holdsOf(tenantId: string) {
  const rows = await fixture.database.sql<{ id: string; status: string; spent: string }[]>`
    select r.id, r.status, trim_scale(coalesce(u.cost_usd, 0))::text as spent
    from llm_reservations r left join llm_usage u on u.reservation_id = r.id
    where r.tenant_id = ${tenantId} order by r.created_at`;
  return [...rows];
}

describe.each(wireProtocols)('a stream of %s', (kind) => {
  it('gives its text as it comes, and then the answer that was charged', async () => {
    let release = (): void => {};
    const until = new Promise<void>((resolve) => {
      release = resolve;
    });
    fixture.provider.script({ kind: 'stream', content, until });
    const { llm, tenantId } = await open(kind);
    const stream = llm.stream(question);
    const texts: string[] = [];
    for await (const text of stream) {
      texts.push(text);
      // The second half is sent only after the first has been read.
      if (content.startsWith(texts.join('')) && texts.join('').length >= content.length / 4) {
        release();
      }
    }
    expect(texts.length).toBeGreaterThan(1);
    expect(texts.join('')).toBe(content);
    const answer = await stream.answer;
    const [billed] = fixture.provider.billed;
    expect(answer).toMatchObject({
      text: content,
      usage: { inputTokens: billed?.prompt_tokens, outputTokens: billed?.completion_tokens },
      analyst: { provider: kind, model: models[kind], offline: false },
    });
    expect(answer).not.toHaveProperty('hint');
    expect(parseUsd(answer.costUsd)).toBeGreaterThan(0n);
    expect(await holdsOf(tenantId)).toMatchObject([{ status: 'APPLIED', spent: answer.costUsd }]);
  });

  it('is one request with the cap that was reserved for, which asks for usage', async () => {
    const { llm, tenantId } = await open(kind);
    await llm.stream(question).answer;
    const [request, ...more] = fixture.provider.received;
    expect(more).toEqual([]);
    const { body } = request ?? {};
    expect(body?.max_tokens ?? body?.generationConfig?.maxOutputTokens).toBe(200);
    const asks = [request?.path.includes(':streamGenerateContent?alt=sse'), body?.stream];
    expect(asks).toEqual(kind === 'google' ? [true, undefined] : [false, true]);
    expect(body?.stream_options).toEqual(kind === 'openai' ? { include_usage: true } : undefined);
    expect(await holdsOf(tenantId)).toHaveLength(1);
  });

  it('that only its answer is awaited of is read all the same', async () => {
    fixture.provider.script({ kind: 'stream', content });
    const { llm } = await open(kind);
    expect(await llm.stream(question).answer).toMatchObject({ text: content });
  });

  it('with a schema is parsed and validated at its end', async () => {
    const { llm } = await open(kind);
    fixture.provider.answerWith('```json\n{"summary": "ok"}\n```');
    const stream = llm.stream({ ...question, schema });
    expect((await textsOf(stream)).join('')).toContain('"summary"');
    expect((await stream.answer).object).toEqual({ summary: 'ok' });
    fixture.provider.answerWith('{"summary": 7}');
    await expect(textsOf(llm.stream({ ...question, schema }))).rejects.toMatchObject({
      code: 'llm_output_invalid',
      details: { outcome: 'settled' },
    });
  });

  it.each(['\r\n', '\r'] as const)(
    'with line ends %j, cut anywhere, is the same',
    async (lineEnd) => {
      fixture.provider.script({ kind: 'stream', content, lineEnd, chunkBytes: 7 });
      const { llm } = await open(kind);
      const { text, usage } = await llm.stream(question).answer;
      expect(text).toBe(content);
      expect(usage.outputTokens).toBe(fixture.provider.billed[0]?.completion_tokens);
    },
  );

  it('blocked by a content filter is charged and refused, and a part of an answer is an answer', async () => {
    const { llm, tenantId } = await open(kind);
    fixture.provider.script({ kind: 'stream', content: '', finishReason: 'refused' });
    await expect(llm.stream(question).answer).rejects.toMatchObject({
      code: 'llm_refused',
      details: { class: 'fatal', outcome: 'settled' },
    });
    fixture.provider.script({ kind: 'stream', content, finishReason: 'refused' });
    expect((await llm.stream(question).answer).text).toBe(content);
    expect((await holdsOf(tenantId)).map(({ status }) => status)).toEqual(['APPLIED', 'APPLIED']);
  });

  it('truncated at its cap says so in the error about its JSON', async () => {
    const { llm } = await open(kind);
    fixture.provider.script({ kind: 'stream', content: '{"summary": "o', finishReason: 'length' });
    await expect(llm.stream({ ...question, schema }).answer).rejects.toThrow(
      /truncated at maxOutputTokens \(200\)/,
    );
  });

  it('refused before it begins has the failure of a call, and holds nothing', async () => {
    const { llm, tenantId } = await open(kind);
    fixture.provider.script({ kind: 'status', status: 429, headers: { 'retry-after': '7' } });
    await expect(textsOf(llm.stream(question))).rejects.toMatchObject({
      code: 'llm_rate_limited',
      details: { class: 'snooze', outcome: 'released', retryAfterMs: 7000 },
    });
    expect(await countersOf(fixture.database.sql, tenantId)).toEqual({
      reserved: '0',
      spent: '0',
      unknown: '0',
    });
  });
});

describe('a stream', () => {
  it('beyond the budget is refused before anything is sent', async () => {
    const tenantId = await addTenant(fixture.database.sql, { limitUsd: '0.000001' });
    const { openai: baseUrl } = fixture.provider.urls;
    const config = { kind: 'openai', model: 'gpt-4o-mini', apiKey, baseUrl } as const;
    const { llm } = await llmAttempt(fixture.database.sql, tenantId, config);
    await expect(llm.stream(question).answer).rejects.toMatchObject({ code: 'budget_exceeded' });
    expect(fixture.provider.received).toHaveLength(0);
  });

  it('that nobody reads is never begun, and one that nobody awaits raises nothing', async () => {
    const raised: unknown[] = [];
    const note = (reason: unknown) => void raised.push(reason);
    process.on('unhandledRejection', note);
    const { llm } = await open('openai');
    llm.stream(question);
    fixture.provider.script({ kind: 'status', status: 500 });
    void llm.stream(question).answer;
    await expect.poll(() => fixture.provider.received.length).toBe(1);
    fixture.provider.script({ kind: 'status', status: 500 });
    await llm.stream(question).answer.catch(() => {});
    process.off('unhandledRejection', note);
    expect(raised).toEqual([]);
    expect(fixture.provider.received).toHaveLength(2);
  });

  it('gives its text to one reader', async () => {
    const { llm } = await open('openai');
    const stream = llm.stream(question);
    expect((await textsOf(stream)).join('')).toBe('All is well.');
    await expect(textsOf(stream)).rejects.toThrow(/gives its text once; await its answer/);
    expect((await stream.answer).text).toBe('All is well.');
  });

  it.each<[string, object | undefined, RegExp]>([
    ['no cap', { ...question, maxOutputTokens: 0 }, /maxOutputTokens/],
    ['no prompt', { ...question, prompt: 7 }, /prompt must be text/],
    ['a timeout of eleven minutes', { ...question, timeoutMs: 660_000 }, /timeoutMs .* 600000/],
    ['nothing', undefined, /ctx\.llm\.stream: its argument must be an object/],
  ])('with %s is refused at once', async (_name, request, says) => {
    const { llm } = await open('openai');
    expect(() => llm.stream(request as typeof question)).toThrow(says);
  });

  it('of a model that refuses JSON mode is asked for again without it, under a second hold', async () => {
    const { llm, tenantId } = await open('openai');
    const message = "'response_format.type' must be 'json_schema' or 'text'";
    const body = JSON.stringify({ error: { message } });
    fixture.provider.script({ kind: 'status', status: 400, body });
    fixture.provider.answerWith('{"summary": "ok"}');
    expect((await llm.stream({ ...question, schema }).answer).object).toEqual({ summary: 'ok' });
    expect((await holdsOf(tenantId)).map(({ status }) => status)).toEqual(['RELEASED', 'APPLIED']);
  });
});
