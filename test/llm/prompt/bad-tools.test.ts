/** Tools that are refused in the handler, by name, before anything is sent; and conversations in the supervisor. */
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { UsageError } from '../../../src/errors.ts';
import { createHandlerLlm } from '../../../src/llm/handler-llm.ts';
import type { LlmCall, LlmRequest } from '../../../src/llm/llm.ts';
import { readConversation } from '../../../src/llm/prompt/conversation.ts';

const reply = {
  text: 'ok',
  usage: { inputTokens: 1, outputTokens: 1 },
  costUsd: '0',
  analyst: { provider: 'test', model: 'm', offline: false },
};
const user = { role: 'user', content: 'Well?' };
const input = z.object({});

function openLlm() {
  const calls: LlmCall[] = [];
  const llm = createHandlerLlm((asked) => {
    calls.push(structuredClone(asked));
    return Promise.resolve(reply);
  });
  return { llm, calls };
}

const nested = (depth: number): unknown => {
  let value: unknown = 1;
  for (let level = 0; level < depth; level += 1) value = [value];
  return value;
};

describe('in the thread', () => {
  it.each<[string, object, RegExp]>([
    ['tools in a list', { prompt: 'x', system: '', tools: [{ input }] }, /tools must be an object/],
    ['tools that are null', { prompt: 'x', system: '', tools: null }, /tools must be an object/],
    [
      'a tool without a schema',
      { prompt: 'x', system: '', tools: { f: { description: 'x' } } },
      /^tool f: its input must be a Standard Schema \(zod, arktype \.\.\.\) or a JSON Schema$/,
    ],
    [
      'a tool that is null',
      { prompt: 'x', system: '', tools: { f: null } },
      /^tool f: its input must be/,
    ],
    [
      'a schema without JSON Schema',
      {
        prompt: 'x',
        system: '',
        tools: { f: { input: { '~standard': { validate: () => ({}) } } } },
      },
      /tool f: its schema gives no JSON Schema/,
    ],
    [
      'a schema that validates nothing',
      { prompt: 'x', system: '', tools: { f: { input: { '~standard': {} } } } },
      /tool f: its schema validates nothing/,
    ],
    [
      'a name with a blank',
      { prompt: 'x', system: '', tools: { 'a b': { input } } },
      /the name of a tool has 1 to 64 letters.*unlike "a b"/,
    ],
    [
      'a description of a number',
      { prompt: 'x', system: '', tools: { f: { input, description: 7 } } },
      /tool f: its description must be text/,
    ],
    [
      'a choice without tools',
      { prompt: 'x', system: '', toolChoice: 'required' },
      /toolChoice needs tools/,
    ],
    [
      'an unknown choice',
      { prompt: 'x', system: '', tools: { f: { input } }, toolChoice: 'always' },
      /toolChoice must be 'auto'/,
    ],
    [
      'a choice of another tool',
      { prompt: 'x', system: '', tools: { f: { input } }, toolChoice: { tool: 'g' } },
      /toolChoice\.tool must be the name of one of the tools/,
    ],
    [
      '130 tools',
      {
        prompt: 'x',
        system: '',
        tools: Object.fromEntries(Array.from({ length: 130 }, (_, n) => [`f${n}`, { input }])),
      },
      /at most 128 tools/,
    ],
    [
      'a system that is no text',
      { system: 7, messages: [user] },
      /system must be text, not number/,
    ],
    [
      'a prompt that is no text',
      { system: '', tools: { f: { input } } },
      /prompt must be text, not undefined/,
    ],
  ])('%s: refused by name, nothing is sent', async (_name, wrong, says) => {
    const { llm, calls } = openLlm();
    // Handlers in plain JavaScript give anything.
    const request = { maxOutputTokens: 10, ...wrong } as unknown as LlmRequest<never>;
    const failure = await llm.generate(request).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(UsageError);
    expect(failure).toMatchObject({ message: expect.stringMatching(says) });
    expect(() => llm.stream(request)).toThrow(says);
    expect(calls).toEqual([]);
  });
});

describe('in the supervisor', () => {
  it.each([
    ['no JSON', '{'],
    ['null', 'null'],
    ['no messages', '{"tools":[]}'],
    ['no tools', JSON.stringify({ messages: [user] })],
    [
      'a system message',
      JSON.stringify({ messages: [{ role: 'system', content: 'x' }, user], tools: [] }),
    ],
    ['a tool without a name', JSON.stringify({ messages: [user], tools: [{ inputSchema: {} }] })],
    [
      'a schema that is text',
      JSON.stringify({ messages: [user], tools: [{ name: 'f', inputSchema: 'x' }] }),
    ],
    [
      'a deep schema',
      JSON.stringify({ messages: [user], tools: [{ name: 'f', inputSchema: { a: nested(200) } }] }),
    ],
  ])('a conversation of %s is refused', (_name, text) => {
    expect(() => readConversation(text)).toThrow(UsageError);
  });
});
