/** Messages that are refused: in the handler, by name, before anything is sent. */
import { describe, expect, it } from 'vitest';
import { UsageError } from '../../../src/errors.ts';
import { createHandlerLlm } from '../../../src/llm/handler-llm.ts';
import type { LlmCall, LlmRequest } from '../../../src/llm/llm.ts';

const reply = {
  text: 'ok',
  usage: { inputTokens: 1, outputTokens: 1 },
  costUsd: '0',
  analyst: { provider: 'test', model: 'm', offline: false },
};
const user = { role: 'user', content: 'Well?' };
const call = { type: 'tool_call', id: 'c', name: 'f', input: {} };

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
const throwing = {
  get role(): string {
    throw new Error('a getter');
  },
};

describe('in the thread', () => {
  it.each<[string, object, RegExp]>([
    ['no messages', { messages: [] }, /^messages must be a list of one message or more$/],
    ['messages that are no list', { messages: user }, /^messages must be a list/],
    ['both', { prompt: 'x', messages: [user] }, /^give a prompt or messages, not both$/],
    ['no user', { messages: [{ role: 'system', content: 'x' }] }, /has no message of a user/],
    [
      'an unknown role',
      { messages: [{ role: 'developer', content: 'x' }] },
      /^messages\[0\]: its role must be one of system, user/,
    ],
    ['null', { messages: [user, null] }, /^messages\[1\]: its role/],
    [
      'a late system message',
      { messages: [user, { role: 'system', content: 'x' }] },
      /^messages\[1\]: a system message must come before/,
    ],
    [
      'content of a number',
      { messages: [{ role: 'user', content: 7 }] },
      /content must be text or a list of parts of the type text$/,
    ],
    [
      'empty content',
      { messages: [{ role: 'user', content: '' }] },
      /^messages\[0\]: it is empty; leave it out$/,
    ],
    ['empty parts', { messages: [{ role: 'user', content: [] }] }, /is empty/],
    [
      'a part of text without text',
      { messages: [{ role: 'user', content: [{ type: 'text' }] }] },
      /content\[0\]: its text must be text/,
    ],
    [
      'an image',
      { messages: [{ role: 'user', content: [{ type: 'image', image: 'https://x/y.png' }] }] },
      /^messages\[0\]\.content\[0\]: parts of the type "image" are not supported: no bound of their price.*send text/,
    ],
    [
      'a file',
      { messages: [{ role: 'user', content: [{ type: 'file', data: 'JVBERi0=' }] }] },
      /type "file".*the text of a file/,
    ],
    [
      'an image URL of OpenAI',
      { messages: [{ role: 'user', content: [{ type: 'image_url', image_url: {} }] }] },
      /type "image_url"/,
    ],
    [
      'a part without a type',
      { messages: [{ role: 'user', content: ['x'] }] },
      /a part must be an object with a type/,
    ],
    [
      'a tool call of a user',
      { messages: [{ role: 'user', content: [call] }] },
      /role user has no part of the type tool_call/,
    ],
    [
      'text for a result',
      { messages: [user, { role: 'tool', content: 'x' }] },
      /content must be a list of parts of the type tool_result$/,
    ],
    [
      'a result without a call',
      {
        messages: [
          user,
          { role: 'tool', content: [{ type: 'tool_result', id: 'c', output: 'x' }] },
        ],
      },
      /no tool call before it has the id "c"; put the message of the assistant/,
    ],
    [
      'a result without output',
      {
        messages: [
          user,
          { role: 'assistant', content: [call] },
          { role: 'tool', content: [{ type: 'tool_result', id: 'c' }] },
        ],
      },
      /has no output; send an empty text/,
    ],
    [
      'a call without an id',
      { messages: [user, { role: 'assistant', content: [{ ...call, id: '' }] }] },
      /its id must be text of 1 to 200 characters/,
    ],
    [
      'a deep input',
      { messages: [user, { role: 'assistant', content: [{ ...call, input: nested(200) }] }] },
      /its input is nested deeper than 100 levels; send a flatter value/,
    ],
    [
      'a very deep input',
      { messages: [user, { role: 'assistant', content: [{ ...call, input: nested(100_000) }] }] },
      /cannot be sent as JSON/,
    ],
    [
      'a bigint',
      { messages: [user, { role: 'assistant', content: [{ ...call, input: { n: 1n } }] }] },
      /cannot be sent as JSON/,
    ],
    ['a getter that throws', { messages: [throwing] }, /cannot be sent as JSON/],
    [
      '50 MB',
      { messages: [{ role: 'user', content: 'x'.repeat(50_000_000) }] },
      /JSON of at most 8388608 characters/,
    ],
    [
      '8 MB that are more in UTF-8',
      { messages: [{ role: 'user', content: '云'.repeat(4_000_000) }] },
      /bytes or more together/,
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

  it('what is right travels as text, without fields that are not known', async () => {
    const { llm, calls } = openLlm();
    const odd = { ...user, log: () => {}, secret: 1 };
    const tools = {
      f: { description: 'x', input: { type: 'object', properties: {} }, run: () => {} },
    };
    await llm.generate({
      messages: [odd],
      tools,
      maxOutputTokens: 10,
    } as unknown as LlmRequest<never>);
    expect(calls).toEqual([
      {
        system: '',
        prompt: '',
        json: false,
        maxOutputTokens: 10,
        conversation: expect.any(String),
      },
    ]);
    expect(JSON.parse(calls[0]?.conversation ?? '')).toEqual({
      messages: [{ role: 'user', content: [{ type: 'text', text: 'Well?' }] }],
      tools: [{ name: 'f', description: 'x', inputSchema: { type: 'object', properties: {} } }],
    });
  });
});
