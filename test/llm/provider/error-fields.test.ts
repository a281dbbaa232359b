import { expect, test } from 'vitest';
import { saidBy } from '../../../src/llm/provider-error.ts';

test('a key that the provider repeats in place of a word is none of its words', () => {
  const apiKey = 'canary-key.0123';
  const said = (error: object) => saidBy(JSON.stringify({ error }), '{}', apiKey);
  expect(said({ code: apiKey, param: `header.${apiKey}`, type: 'invalid_key' })).toEqual({
    code: 'invalid_key',
  });
  expect(said({ details: [{ reason: apiKey }], status: apiKey })).toEqual({});
  for (const standIn of [undefined, '', 'a']) {
    expect(saidBy('{"error":{"code":"a"}}', '{}', standIn)).toEqual({ code: 'a' });
  }
});
