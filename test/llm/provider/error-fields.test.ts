import { expect, test } from 'vitest';
import { readProviderError } from '../../../src/llm/provider-error.ts';

test('an API key that the provider repeats in place of a code is dropped', () => {
  const apiKey = 'canary-key.0123';
  const read = (error: object) => readProviderError(JSON.stringify({ error }), '{}', apiKey);
  expect(read({ code: apiKey, param: `header.${apiKey}`, type: 'invalid_key' })).toEqual({
    code: 'invalid_key',
  });
  expect(read({ details: [{ reason: apiKey }], status: apiKey })).toEqual({});
  for (const standIn of [undefined, '', 'a']) {
    expect(readProviderError('{"error":{"code":"a"}}', '{}', standIn)).toEqual({ code: 'a' });
  }
});
