/** The handler's side of the door over a call that a test answers; what crosses is cloned as a thread's border does. */
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { UsageError } from '../../src/errors.ts';
import { llmOver } from '../../src/llm/handler-llm.ts';
import { LlmOutputError } from '../../src/llm/llm.ts';
import type { LlmCall, LlmReply } from '../../src/llm/llm.ts';

const question = { system: 'Be brief.', prompt: 'How are the costs?', maxOutputTokens: 200 };
const schema = z.object({ summary: z.string(), score: z.number() });

/** An executor's side whose door answers with `text`, and what passed between them. */
function over(text: string, hint?: string) {
  const calls: LlmCall[] = [];
  const judged: boolean[] = [];
  const reply: LlmReply = {
    text,
    usage: { inputTokens: 3, outputTokens: 4 },
    costUsd: '0.000001',
    analyst: { provider: 'test', model: 'm', offline: false },
    ...(hint === undefined ? {} : { hint }),
  };
  const llm = llmOver(
    (call) => {
      calls.push(structuredClone(call));
      return Promise.resolve(structuredClone(reply));
    },
    (fits) => judged.push(fits),
  );
  return { llm, calls, judged };
}

describe('a request', () => {
  it('crosses as it is, and its answer comes back as it is', async () => {
    const { llm, calls, judged } = over('All is well.', 'cut');
    expect(await llm.generate({ ...question, model: 'other' })).toEqual({
      text: 'All is well.',
      usage: { inputTokens: 3, outputTokens: 4 },
      costUsd: '0.000001',
      analyst: { provider: 'test', model: 'm', offline: false },
    });
    expect(calls).toEqual([{ ...question, model: 'other', json: false }]);
    expect(judged).toEqual([]);
  });

  it('with a schema crosses without it: as instructions, and its answer is read by it', async () => {
    const { llm, calls, judged } = over('Here:\n{"summary": "ok", "score": 1}');
    expect(await llm.generate({ ...question, schema })).toMatchObject({
      object: { summary: 'ok', score: 1 },
    });
    expect(calls).toEqual([
      { ...question, json: true, system: expect.stringMatching(/^Be brief\.\n\n.*"score"/s) },
    ]);
    expect(judged).toEqual([true]);
  });

  it('with functions and symbols in it crosses all the same, without them', async () => {
    const { llm, calls } = over('ok');
    const odd = { ...question, log: () => {}, [Symbol('x')]: 1 };
    await llm.generate(odd);
    expect(calls).toEqual([{ ...question, json: false }]);
  });

  it.each<[string, object, RegExp]>([
    ['no cap', { maxOutputTokens: 0 }, /maxOutputTokens .* at least 1, not 0/],
    ['a negative cap', { maxOutputTokens: -1 }, /maxOutputTokens/],
    ['half a token', { maxOutputTokens: 1.5 }, /maxOutputTokens/],
    ['a cap without a number', { maxOutputTokens: Number.NaN }, /maxOutputTokens/],
    ['an endless cap', { maxOutputTokens: Number.POSITIVE_INFINITY }, /maxOutputTokens/],
    ['a cap in words', { maxOutputTokens: '100' }, /maxOutputTokens/],
    ['a symbol for a cap', { maxOutputTokens: Symbol('100') }, /not Symbol\(100\)/],
    ['no prompt', { prompt: undefined }, /prompt must be text, not undefined/],
    ['a prompt of parts', { prompt: [{ text: 'hm' }] }, /prompt must be text, not object/],
    ['no system', { system: null }, /system must be text/],
    ['an empty model', { model: '' }, /model must be/],
    ['a model that is none', { model: 7 }, /model must be/],
    ['a schema that is none', { schema: {} }, /Standard Schema/],
    ['a schema that validates nothing', { schema: { '~standard': {} } }, /Standard Schema/],
    ['null for a schema', { schema: null }, /Standard Schema/],
  ])('with %s is refused before it crosses', async (_name, wrong, says) => {
    const { llm, calls } = over('{}');
    const failure = await llm.generate({ ...question, ...wrong }).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(UsageError);
    expect(failure).toMatchObject({ message: expect.stringMatching(says) });
    expect(calls).toEqual([]);
  });
});

describe('an answer that does not fit', () => {
  it('is said to the door, and is an LlmOutputError with text, issues and the hint of why', async () => {
    const { llm, judged } = over('{"summary": 7', 'the answer was cut');
    const failure = await llm.generate({ ...question, schema }).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(LlmOutputError);
    expect(failure).toMatchObject({
      text: '{"summary": 7',
      issues: ['the answer was cut', 'the answer is not JSON'],
    });
    expect(judged).toEqual([false]);
  });

  it('is said to the door too when its schema throws', async () => {
    const { llm, judged } = over('{"summary": "ok"}');
    const throwing = z.object({ summary: z.string() }).transform(() => {
      throw new Error('a bug in the schema');
    });
    await expect(llm.generate({ ...question, schema: throwing })).rejects.toThrow(/a bug/);
    expect(judged).toEqual([false]);
  });
});
