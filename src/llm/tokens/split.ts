/** How OpenAI's encodings cut a text into pieces, which are encoded one by one: tiktoken_ext/openai_public.py. */
import type { EncodingName } from './rank-table.ts';

/*
 * tiktoken's patterns in JavaScript. `\s` is written as White_Space, which it is in Rust: here `\s` has U+FEFF and not
 * U+0085. Rust ignores case with U+017F as an s. Possessive repetitions differ from greedy ones in time only.
 */
const contraction = String.raw`'(?:[sSſdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])`;
const space = String.raw`\p{White_Space}`;
const symbol = String.raw`[^\p{White_Space}\p{L}\p{N}]`;
const beforeWord = String.raw`[^\r\n\p{L}\p{N}]?`;
const upper = String.raw`[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`;
const lower = String.raw`[\p{Ll}\p{Lm}\p{Lo}\p{M}]`;

const patterns: Readonly<Record<EncodingName, string>> = {
  cl100k_base: [
    contraction,
    String.raw`${beforeWord}\p{L}+`,
    String.raw`\p{N}{1,3}`,
    String.raw` ?${symbol}+[\r\n]*`,
    `${space}+$`,
    String.raw`${space}*[\r\n]`,
    String.raw`${space}+(?!\P{White_Space})`,
    space,
  ].join('|'),
  o200k_base: [
    `${beforeWord}${upper}*${lower}+(?:${contraction})?`,
    `${beforeWord}${upper}+${lower}*(?:${contraction})?`,
    String.raw`\p{N}{1,3}`,
    String.raw` ?${symbol}+[\r\n/]*`,
    String.raw`${space}*[\r\n]+`,
    String.raw`${space}+(?!\P{White_Space})`,
    `${space}+`,
  ].join('|'),
};

/** Finds the piece at `lastIndex`. */
export function piecePattern(name: EncodingName): RegExp {
  return new RegExp(patterns[name], 'uy');
}

/*
 * Characters that one version of Unicode takes for letters, marks or numbers and another does not know: those that are
 * not assigned here, that Unicode 15.1 to 17 added to the basic plane, and all beyond it but mathematical letters,
 * enclosed numbers, Chinese ideographs and variation selectors. Which version a provider has is not known.
 */
const laterLetters = String.raw`\u088F\u0897\u0C5C\u0CDC\u1ACF-\u1AEB\u1C89-\u1C8A\uA7CB-\uA7DC\uA7F1`;
const oldLetters = String.raw`\u{1D400}-\u{1D7FF}\u{1F100}-\u{1F1FF}\u{20000}-\u{2B738}\u{2B740}-\u{2CEA1}\u{E0100}-\u{E01EF}`;

/** Finds a character with which the pieces of a text are not certain. */
export const uncertain = new RegExp(
  String.raw`[\p{Cn}${laterLetters}[[[\p{L}\p{M}\p{N}]&&[\u{10000}-\u{10FFFF}]]--[${oldLetters}]]]`,
  'v',
);
