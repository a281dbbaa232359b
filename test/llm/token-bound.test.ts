/** The bound of a request's tokens holds for tokenizers that normalise their text. */
import { expect, it } from 'vitest';
import { tokenBound } from '../../src/llm/token-bound.ts';

const server = 'http://127.0.0.1:8000/v1/chat/completions';
const bytes = (text: string) => Buffer.byteLength(text);

it('of text that a normalisation makes longer covers the bytes of its normalised form', () => {
  // One character of 3 bytes is 18 characters of 33 bytes in NFKC.
  const ligatures = '\uFDFA'.repeat(3046);
  expect(bytes(ligatures)).toBe(9138);
  for (const url of [server, 'https://api.anthropic.com/v1/messages']) {
    expect(tokenBound(ligatures, url)).toBeGreaterThanOrEqual(bytes(ligatures.normalize('NFKC')));
    expect(tokenBound(ligatures, url)).toBeGreaterThan(45_018);
  }
});

it.each(['NFC', 'NFD', 'NFKC', 'NFKD'] as const)(
  'covers every character in %s, at a server whose tokenizer is not known',
  (form) => {
    for (let start = 0; start < 0x11_0000; start += 0x800) {
      if (start === 0xd800) continue;
      const codes = Array.from({ length: 0x800 }, (_, offset) => start + offset);
      const text = String.fromCodePoint(...codes);
      expect(tokenBound(text, server)).toBeGreaterThanOrEqual(bytes(text.normalize(form)));
    }
  },
);

it('is the bytes as they are for ASCII, and for OpenAI, whose tokenizers do not normalise', () => {
  expect(tokenBound('a'.repeat(1000), server)).toBe(1256);
  const korean = '한국어'.repeat(100);
  expect(tokenBound(korean, 'https://api.openai.com/v1/chat/completions')).toBe(900 + 256);
  expect(tokenBound(korean, 'https://api.anthropic.com/v1/messages')).toBe(900 + 256);
});
