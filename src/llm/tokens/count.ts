/** Counts the tokens of a text as tiktoken does: exactly, or by its bytes where the text is made to take long. */
import { countMerged, maxPieceBytes } from './merge.ts';
import { loadRankTable } from './rank-table.ts';
import type { EncodingName, RankTable } from './rank-table.ts';
import { piecePattern, uncertain } from './split.ts';
import { inTurns } from './turns.ts';

interface Encoding {
  readonly table: RankTable;
  readonly pieces: RegExp;
}

/** Of text, in UTF-16 units, that is encoded in one turn of the event loop: 1 to 2 ms. */
const windowLength = 8 * 1024;

/** Loaded with the first text that is counted: 8 MB for o200k_base, 4 MB for cl100k_base. */
const encodings = new Map<EncodingName, Promise<Encoding>>();

/**
 * The tokens of `text` in an encoding. Never less than tiktoken counts, and exactly that, except that these count as
 * many tokens as bytes: a piece (a word, a number, a run of symbols) of more than 4 KiB; a text with a piece of 8,192
 * characters or more; a text with characters that are letters in some versions of Unicode only. Control tokens such as
 * `<|endoftext|>` are text. Throws where the files of gpt-tokenizer cannot be read.
 */
export async function countTokens(name: EncodingName, text: string): Promise<number> {
  const encoding = await encodingOf(name);
  return inTurns(countPieces(encoding, text));
}

function encodingOf(name: EncodingName): Promise<Encoding> {
  const known = encodings.get(name);
  if (known !== undefined) return known;
  const loading = loadRankTable(name).then(
    (table) => ({ table, pieces: piecePattern(name) }),
    (error: unknown) => {
      encodings.delete(name);
      throw error;
    },
  );
  encodings.set(name, loading);
  return loading;
}

function* countPieces(encoding: Encoding, text: string): Generator<void, number> {
  let tokens = 0;
  for (let from = 0; from < text.length;) {
    const window = text.slice(from, from + windowLength);
    if (uncertain.test(window)) return Buffer.byteLength(text);
    const isLast = from + window.length === text.length;
    const counted = countWindow(encoding, window, isLast);
    if (counted.length === 0) return Buffer.byteLength(text);
    tokens += counted.tokens;
    from += counted.length;
    yield;
  }
  return tokens;
}

/** Leaves out a piece that the end of the window cuts: it begins the next one. */
function countWindow({ table, pieces }: Encoding, window: string, isLast: boolean) {
  let tokens = 0;
  let start = 0;
  pieces.lastIndex = 0;
  while (start < window.length && pieces.test(window)) {
    const end = pieces.lastIndex;
    if (end === window.length && !isLast) break;
    tokens += countPiece(table, window.slice(start, end));
    start = end;
  }
  return { tokens, length: start };
}

/** Reused: a piece is counted without a wait. */
const scratch = Buffer.alloc(maxPieceBytes);

function countPiece(table: RankTable, piece: string): number {
  // A UTF-16 unit has at most three bytes.
  const bytes = 3 * piece.length > maxPieceBytes ? Buffer.byteLength(piece) : 0;
  if (bytes > maxPieceBytes) return bytes;
  // Writes a lone surrogate as U+FFFD, which is what reaches the tokenizer, and a symbol like it.
  const length = scratch.write(piece);
  return table.rankOf(scratch, 0, length) >= 0 ? 1 : countMerged(table, scratch, length);
}
