/** The bound of a chat completion: exact for its text, in bytes for everything else. */
import { describe, expect, it } from 'vitest';
import { countTokens } from '../../../src/llm/tokens/count.ts';
import { messageBound } from '../../../src/llm/tokens/message-bound.ts';
import type { EncodingName } from '../../../src/llm/tokens/rank-table.ts';
import { textOf } from '../../support/llm-trace/texts.ts';

const o200k: readonly EncodingName[] = ['o200k_base'];
const hindi = textOf('Devanagari', 300, 1);
const bound = (body: Readonly<Record<string, unknown>>, encodings = o200k) =>
  messageBound(body, encodings);

const json = (value: unknown) => Buffer.byteLength(JSON.stringify(value));
const plain = { model: 'gpt-4o', messages: [{ role: 'user', content: hindi }] };

describe('the text', () => {
  it('counts its tokens, with 16 around each message and 64 for the request', async () => {
    const tokens = await countTokens('o200k_base', hindi);
    expect(tokens).toBeLessThan(Buffer.byteLength(hindi) / 5);
    expect(await bound(plain)).toBe(64 + 16 + tokens);
    const two = {
      ...plain,
      messages: [{ role: 'system', content: 'Be brief.' }, ...plain.messages],
    };
    expect(await bound(two)).toBe(64 + 32 + 3 + tokens);
    const part = { role: 'user', content: [{ type: 'text', text: hindi }] };
    expect(await bound({ ...plain, messages: [part] })).toBe(64 + 16 + tokens);
    expect(await bound({ messages: [] })).toBe(64);
  });

  // OpenAI documents 3 around each message and 3 for the answer; up to 5 were seen.
  it('covers every overhead that was seen, in empty messages too', async () => {
    for (const count of [1, 2, 50]) {
      const messages = Array.from({ length: count }, () => ({ role: 'user', content: '' }));
      expect(await bound({ messages })).toBeGreaterThanOrEqual(6 * count + 3);
    }
  });

  it('of a deployment that may have either encoding counts the greater number', async () => {
    const both: readonly EncodingName[] = ['o200k_base', 'cl100k_base'];
    const [first, second] = await Promise.all(both.map((name) => countTokens(name, hindi)));
    expect(second).toBeGreaterThan(first ?? 0);
    expect(await bound(plain, both)).toBe(64 + 16 + (second ?? 0));
    expect(await bound(plain, both.toReversed())).toBe(64 + 16 + (second ?? 0));
  });
});

describe('everything else', () => {
  it('that the model may read counts its bytes', async () => {
    const base = (await bound(plain)) ?? 0;
    const fields = [
      { tools: [{ type: 'function', function: { name: 'वेतन', parameters: { type: 'object' } } }] },
      { response_format: { type: 'json_schema', json_schema: { name: 'x', schema: {} } } },
      { reasoning_effort: 'high' },
      { web_search_options: {} },
      { a_field_of_next_year: hindi },
    ];
    for (const field of fields) {
      expect(await bound({ ...plain, ...field })).toBe(base + json(field));
    }
  });

  it('of a message counts its bytes: calls of tools, names, roles that are not known', async () => {
    const base = (await bound({ messages: [{ role: 'user', content: '' }] })) ?? 0;
    const calls = { tool_calls: [{ id: 'c', function: { name: 'f', arguments: hindi } }] };
    const cases: readonly [object, number][] = [
      [{ role: 'assistant', content: null, ...calls }, json(null) + json(calls)],
      [{ role: 'user', content: '', name: 'ravi' }, json({ name: 'ravi' })],
      [
        { role: 'tool', content: '', tool_call_id: 'c' },
        json('tool') + json({ tool_call_id: 'c' }),
      ],
      [{ role: hindi, content: '' }, json(hindi)],
      [{ role: 'user' }, 0],
      [{ role: 'user', content: 7 }, json(7)],
    ];
    for (const [message, more] of cases) {
      expect(await bound({ messages: [message] })).toBe(base + more);
    }
  });

  it('several parts, an image and a part with other fields count their bytes', async () => {
    const base = (await bound({ messages: [{ role: 'user', content: '' }] })) ?? 0;
    const text = { type: 'text', text: hindi };
    const image = { type: 'image_url', image_url: { url: 'data:image/png;base64,AAAA' } };
    for (const content of [[text, text], [text, image], [image], [{ ...text, cache: true }], []]) {
      const body = { messages: [{ role: 'user', content }] };
      expect(await bound(body)).toBe(base + json(content));
    }
  });

  it('that is no text for the model counts nothing', async () => {
    const settings = {
      max_completion_tokens: 4000,
      service_tier: 'default',
      temperature: 0.2,
      stream: true,
      stream_options: { include_usage: true },
      user: hindi,
      n: 3,
    };
    expect(await bound({ ...plain, ...settings })).toBe(await bound(plain));
  });
});

it('there is none for another body, or without an encoding', async () => {
  expect(await bound({ input: hindi })).toBeUndefined();
  expect(await bound({ messages: 'none' })).toBeUndefined();
  expect(await bound({ messages: [hindi] })).toBeUndefined();
  expect(await bound(plain, [])).toBeUndefined();
});
