/** The `Llm` of a handler; calls and replies are cloned as between threads. */
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { UsageError } from '../../src/errors.ts';
import { createHandlerLlm } from '../../src/llm/handler-llm.ts';
import { LlmOutputError } from '../../src/llm/llm.ts';
import type { LlmCall, LlmReply } from '../../src/llm/llm.ts';

const question = { system: 'Be brief.', prompt: 'How are the costs?', maxOutputTokens: 200 };
const schema = z.object({ summary: z.string(), score: z.number() });

/** A handler's `Llm` whose calls are answered with `text`, with the calls and validations it made. */
function openLlm(text: string, hint?: string) {
  const calls: LlmCall[] = [];
  const validated: boolean[] = [];
  const reply: LlmReply = {
    text,
    usage: { inputTokens: 3, outputTokens: 4 },
    costUsd: '0.000001',
    analyst: { provider: 'test', model: 'm', offline: false },
    ...(hint === undefined ? {} : { hint }),
  };
  const llm = createHandlerLlm(
    (call) => {
      calls.push(structuredClone(call));
      return Promise.resolve(structuredClone(reply));
    },
    (valid) => validated.push(valid),
  );
  return { llm, calls, validated };
}

describe('a request', () => {
  it('is passed on and answered unchanged', async () => {
    const { llm, calls, validated } = openLlm('All is well.', 'cut');
    expect(await llm.generate({ ...question, model: 'other' })).toEqual({
      text: 'All is well.',
      usage: { inputTokens: 3, outputTokens: 4 },
      costUsd: '0.000001',
      analyst: { provider: 'test', model: 'm', offline: false },
    });
    expect(calls).toEqual([{ ...question, model: 'other', json: false }]);
    expect(validated).toEqual([]);
  });

  it('with a schema passes on instructions instead of the schema, and its answer is validated', async () => {
    const { llm, calls, validated } = openLlm('Here:\n{"summary": "ok", "score": 1}');
    expect(await llm.generate({ ...question, schema })).toMatchObject({
      object: { summary: 'ok', score: 1 },
    });
    expect(calls).toEqual([
      { ...question, json: true, system: expect.stringMatching(/^Be brief\.\n\n.*"score"/s) },
    ]);
    expect(validated).toEqual([true]);
  });

  it('with functions and symbols is passed on without them', async () => {
    const { llm, calls } = openLlm('ok');
    const odd = { ...question, log: () => {}, [Symbol('x')]: 1 };
    await llm.generate(odd);
    expect(calls).toEqual([{ ...question, json: false }]);
  });

  it.each<[string, object, RegExp]>([
    ['no cap', { maxOutputTokens: 0 }, /maxOutputTokens .* at least 1, not 0/],
    ['a negative cap', { maxOutputTokens: -1 }, /maxOutputTokens/],
    ['half a token', { maxOutputTokens: 1.5 }, /maxOutputTokens/],
    ['a cap that is not a number', { maxOutputTokens: Number.NaN }, /maxOutputTokens/],
    ['an endless cap', { maxOutputTokens: Number.POSITIVE_INFINITY }, /maxOutputTokens/],
    ['a cap in words', { maxOutputTokens: '100' }, /maxOutputTokens/],
    ['a symbol for a cap', { maxOutputTokens: Symbol('100') }, /not Symbol\(100\)/],
    ['no prompt', { prompt: undefined }, /prompt must be text, not undefined/],
    ['a prompt of parts', { prompt: [{ text: 'hm' }] }, /prompt must be text, not object/],
    ['no system', { system: null }, /system must be text/],
    ['an empty model', { model: '' }, /the model name/],
    ['a model that is not text', { model: 7 }, /the model name/],
    ['a NUL in its model', { model: 'gpt\0' }, /the model name/],
    ['a line break in its model', { model: 'gpt\nx: 1' }, /the model name/],
    ['half a character in its model', { model: 'gpt\uD83D' }, /the model name/],
    ['a model of a megabyte', { model: 'm'.repeat(1e6) }, /the model name/],
    ['a cap above all', { maxOutputTokens: Number.MAX_SAFE_INTEGER }, /no model writes more/],
    ['a schema that is not one', { schema: {} }, /Standard Schema/],
    ['a schema that validates nothing', { schema: { '~standard': {} } }, /Standard Schema/],
    ['null for a schema', { schema: null }, /Standard Schema/],
  ])('with %s is refused in the handler', async (_name, wrong, says) => {
    const { llm, calls } = openLlm('{}');
    const failure = await llm.generate({ ...question, ...wrong }).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(UsageError);
    expect(failure).toMatchObject({ message: expect.stringMatching(says) });
    expect(calls).toEqual([]);
  });
});

describe('an answer that does not match the schema', () => {
  it('is counted, and throws an LlmOutputError with text, issues and hint', async () => {
    const { llm, validated } = openLlm('{"summary": 7', 'the answer was cut');
    const failure = await llm.generate({ ...question, schema }).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(LlmOutputError);
    expect(failure).toMatchObject({
      text: '{"summary": 7',
      issues: ['the answer was cut', 'the answer is not JSON'],
    });
    expect(validated).toEqual([false]);
  });

  it('is counted when the schema throws', async () => {
    const { llm, validated } = openLlm('{"summary": "ok"}');
    const throwing = z.object({ summary: z.string() }).transform(() => {
      throw new Error('a bug in the schema');
    });
    await expect(llm.generate({ ...question, schema: throwing })).rejects.toThrow(/a bug/);
    expect(validated).toEqual([false]);
  });
});
