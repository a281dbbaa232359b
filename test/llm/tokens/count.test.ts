/** Tokens are counted as tiktoken counts them, in turns of the event loop, and never fewer where the text is odd. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { createRequire } from 'node:module';
import { setImmediate as turn } from 'node:timers/promises';
import { countTokens as countOfCl100k } from 'gpt-tokenizer/encoding/cl100k_base';
import { countTokens as countOfO200k } from 'gpt-tokenizer/encoding/o200k_base';
import { describe, expect, it } from 'vitest';
import { countTokens } from '../../../src/llm/tokens/count.ts';
import type { EncodingName } from '../../../src/llm/tokens/rank-table.ts';
import { scripts, textOf } from '../../support/llm-trace/texts.ts';

const names: readonly EncodingName[] = ['o200k_base', 'cl100k_base'];
/** An independent implementation, whose time grows with the square of a word. */
const peers = { o200k_base: countOfO200k, cl100k_base: countOfCl100k };
const peerCount = (name: EncodingName, text: string) =>
  peers[name](text, { disallowedSpecial: new Set() });
const bytes = (text: string) => Buffer.byteLength(text);

/** The same numbers on every run. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

describe('the files of gpt-tokenizer', () => {
  // tiktoken checks the files that it downloads: tiktoken_ext/openai_public.py.
  it.each([
    ['o200k_base', '446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d'],
    ['cl100k_base', '223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7'],
  ])('%s is the one that OpenAI publishes', async (name, expected) => {
    const path = createRequire(import.meta.url).resolve(`gpt-tokenizer/data/${name}.tiktoken`);
    const hash = createHash('sha256');
    for await (const chunk of createReadStream(path)) hash.update(chunk);
    expect(hash.digest('hex')).toBe(expected);
  });
});

describe('counts as tiktoken does', () => {
  // Counted by tiktoken 0.14.0; some of the texts are those that JavaScript's \s and case differ on.
  it.each([
    ['', 0, 0],
    ['Hello, world!', 4, 4],
    ['a\uFEFF b\uFEFF\uFEFF c', 5, 6],
    ['x \u0085\u0085 y', 6, 6],
    ['It\u2019s O\u0027\u017F and she\u0027S, WE\u0027LL', 12, 13],
    ['\u200B \u2028\u3000 z', 4, 5],
    ['<|endoftext|><|im_start|>', 12, 12],
    ['\n\n  \r\n\t x  \n', 5, 5],
    ['123456 ٣٤٥ Ⅷ½', 10, 13],
    ['camelCase HTTPServer ǅungla', 9, 9],
    ['\uFDFA e\u0301\u0323', 5, 7],
    ['👨‍👩‍👧‍👦🇫🇷', 15, 24],
    ['\uFFFD', 1, 1],
    ['a'.repeat(4096), 512, 512],
    // Fewer, or more, if not the leftmost of equal pairs were merged first.
    ['bbbabbaoa', 4, 4],
    ['banaablbbb', 4, 4],
    [`${'-'.repeat(1000)}\n${' '.repeat(1000)}`, 25, 25],
    ['人人生而自由'.repeat(100), 400, 600],
  ])('%j', async (text, o200k, cl100k) => {
    expect(await countTokens('o200k_base', text)).toBe(o200k);
    expect(await countTokens('cl100k_base', text)).toBe(cl100k);
  });

  it.each(scripts)('text in %s, of one window and of many', async (script) => {
    for (const name of names) {
      for (const count of [1, 30, 2000, 12_000]) {
        const text = textOf(script, count, count);
        expect(await countTokens(name, text)).toBe(peerCount(name, text));
      }
    }
  });

  it('pieces of all kinds in any order', async () => {
    const random = seeded(1);
    const pieces =
      "a|The| the|é|e\u0301|ß|ǅ|ʰ|人|ひら|한국|हि|ไทย|العر|😀|🇯🇵|1|12345|Ⅷ|½|_|--|//|...|{\"|'s|'LL|$| |  |\t|\n|\r\n|\n\n|\u00A0|\u3000|\u200D|\u0300".split(
        '|',
      );
    for (let round = 0; round < 400; round += 1) {
      const length = 1 + Math.floor(random() * 60);
      const text = Array.from(
        { length },
        () => pieces[Math.floor(random() * pieces.length)] ?? '',
      ).join('');
      for (const name of names) {
        expect([text, await countTokens(name, text)]).toEqual([text, peerCount(name, text)]);
      }
    }
  });

  it('words of letters at random, which merge in every order', async () => {
    const random = seeded(2);
    const word = (length: number) =>
      Array.from({ length }, () => String.fromCharCode(97 + Math.floor(random() * 26))).join('');
    for (const length of [2, 3, 10, 50, 200, 1000]) {
      const text = Array.from({ length: 5 }, () => word(length)).join(' ');
      for (const name of names) {
        expect(await countTokens(name, text)).toBe(peerCount(name, text));
      }
    }
  });

  it('a lone surrogate as the character that replaces it', async () => {
    for (const name of names) {
      const lone = await countTokens(name, 'a\uD83D b \uDE00');
      expect(lone).toBe(peerCount(name, 'a\uFFFD b \uFFFD'));
    }
  });
});

describe('text that is made to take long counts its bytes', () => {
  it.each([
    ['a million letters', 'a'.repeat(1_000_000)],
    ['a million blanks', ' '.repeat(1_000_000)],
    ['300,000 ideographs without a mark', '人'.repeat(300_000)],
    ['emoji without a space', '😀'.repeat(100_000)],
    ['a word of 5,000 letters', 'a'.repeat(5000)],
  ])('%s', async (_, text) => {
    for (const name of names) expect(await countTokens(name, text)).toBe(bytes(text));
  });

  it('and the rest of the text is counted, up to the size of a window', async () => {
    const text = `One two three. ${'a'.repeat(5000)} Four five six.`;
    const rest = 'One two three. a Four five six.';
    expect(await countTokens('o200k_base', text)).toBe(
      (await countTokens('o200k_base', rest)) + 5000,
    );
  });

  it('and so does text with characters that are letters in some versions of Unicode only', async () => {
    // Garay came with Unicode 16; the second is not assigned.
    for (const odd of ['\u{10D50}', '\u{10D90}', '\uA7CB', '\u088F']) {
      const text = `What is ${odd} in this text?`;
      expect(await countTokens('o200k_base', text)).toBe(bytes(text));
    }
    for (const usual of ['\u{1D4D0}', '\u{20BB7}', '\u{1F1EF}', '葛\u{E0100}', '\uE000']) {
      const text = `What is ${usual} in this text?`;
      expect(await countTokens('o200k_base', text)).toBe(peerCount('o200k_base', text));
    }
  });
});

describe('the event loop', () => {
  it('has a turn after every 8,192 characters', async () => {
    const text = 'The costs of the month. '.repeat(20_000);
    await countTokens('o200k_base', '');
    let turns = 0;
    const counted = countTokens('o200k_base', text);
    const ended = counted.then(() => true);
    while (!(await Promise.race([ended, turn(false)]))) turns += 1;
    expect(await counted).toBe(120_001);
    expect(turns).toBeGreaterThan(text.length / 8192);
  });

  it('a short text is not counted after a long one that came before', async () => {
    const order: string[] = [];
    const long = countTokens('o200k_base', 'The costs. '.repeat(50_000)).then(() =>
      order.push('long'),
    );
    const short = countTokens('o200k_base', 'The costs.').then(() => order.push('short'));
    await Promise.all([long, short]);
    expect(order).toEqual(['short', 'long']);
  });

  it('goes on with the others where one fails', async () => {
    const { inTurns } = await import('../../../src/llm/tokens/turns.ts');
    const failing = inTurns(
      (function* (): Generator<void, number> {
        yield;
        throw new Error('it failed');
      })(),
    );
    const other = countTokens('o200k_base', 'The costs.');
    await expect(failing).rejects.toThrow('it failed');
    expect(await other).toBe(3);
  });
});
