/**
 * An upper bound of the tokens of a request for every tokenizer. A token covers at least one byte of the text that the tokenizer sees,
 * which may be a Unicode normalisation of the text that was sent: U+FDFA has 3 bytes, and 33 in NFKC. The text itself
 * is not normalised: that takes quadratic time where many marks follow one character.
 */

import { sellerOf } from './sellers.ts';

/** Covers the templates that a server puts around messages. */
const templateTokens = 256;

/** Bytes of each character of a block of code points, in the longest of the forms. */
interface Block {
  readonly composed: Uint8Array;
  readonly decomposed: Uint8Array;
  readonly isMark: readonly boolean[];
}

const blockSize = 256;
const blocks = new Map<number, Block>();

/** In tokens, of a serialised request to `url`. */
export function byteBound(body: string, url: string): number {
  const bytes = Buffer.byteLength(body);
  const seller = sellerOf(url);
  // ASCII is the same in every form, and OpenAI's tokenizers take the bytes as they are.
  if (bytes === body.length || seller === 'openai') return bytes + templateTokens;
  // Anthropic's and Google's published tokenizers use NFKC.
  const composes = seller === 'anthropic' || seller === 'google';
  return normalisedBound(body, composes) + templateTokens;
}

/**
 * Decomposition changes each character by itself, and composition only shortens its result. So a character has at most
 * its decomposed bytes, and its composed ones if the form composes and no mark follows: a mark can part it again.
 */
function normalisedBound(text: string, composes: boolean): number {
  let bound = 0;
  let markFollows = false;
  for (let at = text.length - 1; at >= 0; at -= 1) {
    const isPair = at > 0 && isLowSurrogate(text.charCodeAt(at));
    const pair = isPair ? (text.codePointAt(at - 1) ?? 0) : 0;
    const code = pair > 0xffff ? pair : text.charCodeAt(at);
    if (pair > 0xffff) at -= 1;
    const { composed, decomposed, isMark } = blockOf(code);
    const index = code % blockSize;
    const mark = isMark[index] === true;
    bound += (composes && !mark && !markFollows ? composed[index] : decomposed[index]) ?? 0;
    markFollows = mark;
  }
  return bound;
}

const isLowSurrogate = (unit: number): boolean => unit >= 0xdc00 && unit <= 0xdfff;

function blockOf(code: number): Block {
  const number = Math.floor(code / blockSize);
  const known = blocks.get(number);
  if (known !== undefined) return known;
  const characters = Array.from({ length: blockSize }, (_, offset) =>
    String.fromCodePoint(number * blockSize + offset),
  );
  const longest = (...forms: readonly string[]) =>
    Uint8Array.from(characters, (one) =>
      Math.max(
        ...[one, ...forms.map((form) => one.normalize(form))].map((text) =>
          Buffer.byteLength(text),
        ),
      ),
    );
  const block = {
    composed: longest('NFC', 'NFKC'),
    decomposed: longest('NFC', 'NFD', 'NFKC', 'NFKD'),
    isMark: characters.map((one) => /^\p{M}/u.test(one)),
  };
  blocks.set(number, block);
  return block;
}
