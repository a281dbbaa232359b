/** The bound of a request's tokens holds for tokenizers that normalise their text. */
import { expect, it } from 'vitest';
import { byteBound } from '../../../src/llm/tokens/byte-bound.ts';

const server = 'http://127.0.0.1:8000/v1/chat/completions';
const bytes = (text: string) => Buffer.byteLength(text);

it('of text that a normalisation makes longer covers the bytes of its normalised form', () => {
  // One character of 3 bytes is 18 characters of 33 bytes in NFKC.
  const ligatures = '\uFDFA'.repeat(3046);
  expect(bytes(ligatures)).toBe(9138);
  for (const url of [server, 'https://api.anthropic.com/v1/messages']) {
    expect(byteBound(ligatures, url)).toBeGreaterThanOrEqual(bytes(ligatures.normalize('NFKC')));
    expect(byteBound(ligatures, url)).toBeGreaterThan(45_018);
  }
});

it.each(['NFC', 'NFD', 'NFKC', 'NFKD'] as const)(
  'covers every character in %s, at a server whose tokenizer is not known',
  (form) => {
    for (let start = 0; start < 0x11_0000; start += 0x800) {
      if (start === 0xd800) continue;
      const codes = Array.from({ length: 0x800 }, (_, offset) => start + offset);
      const text = String.fromCodePoint(...codes);
      expect(byteBound(text, server)).toBeGreaterThanOrEqual(bytes(text.normalize(form)));
    }
  },
);

it('is the bytes as they are for ASCII, and for OpenAI, whose tokenizers do not normalise', () => {
  expect(byteBound('a'.repeat(1000), server)).toBe(1256);
  const korean = '한국어'.repeat(100);
  expect(byteBound(korean, 'https://api.openai.com/v1/chat/completions')).toBe(900 + 256);
  expect(byteBound(korean, 'https://api.anthropic.com/v1/messages')).toBe(900 + 256);
});

it('covers marks that join, part and reorder the characters before them', () => {
  const texts = [
    '\u00E9\u0323',
    '\u01D6\u0327',
    '\u1FA7\u0323',
    '\u304B\u3099',
    '\u110B\u1175\u11B8',
  ];
  for (const text of texts) {
    for (const form of ['NFC', 'NFKC'] as const) {
      const bound = byteBound(text.repeat(1000), 'https://api.anthropic.com/v1/messages');
      expect(bound).toBeGreaterThanOrEqual(bytes(text.repeat(1000).normalize(form)));
    }
  }
});

// A normalisation sorts a run of marks by insertion: of this text it takes minutes, in the thread of the supervisor.
it('of a megabyte of marks on one letter is found in one pass', () => {
  const marks = `a${'\u0300\u0316'.repeat(250_000)}`;
  expect(byteBound(marks, server)).toBe(1_000_001 + 256);
}, 10_000);
