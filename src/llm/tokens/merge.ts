/**
 * Byte pair encoding, as tiktoken does it: of all neighbours, the pair whose joined bytes have the lowest rank is merged
 * first, the leftmost of equal ones, until no pair is a token. A heap makes that n log n; the usual search for the
 * lowest is quadratic (40 s for 200 KB of "a" in gpt-tokenizer).
 */
import type { RankTable } from './rank-table.ts';

/** Of one piece. Longer ones are bounded by their bytes, so that no step takes more than some milliseconds. */
export const maxPieceBytes = 4096;

const none = -1;
const startBits = 2 ** 12;

/** Reused: merging one piece never waits. */
const next = new Int32Array(maxPieceBytes + 1);
const previous = new Int32Array(maxPieceBytes + 1);
const pairRank = new Int32Array(maxPieceBytes + 1);
/** Pairs by rank and start, as `rank * startBits + start`: each merge removes one and adds at most two. */
const heap = new Float64Array(3 * maxPieceBytes);
let heapSize = 0;

/** The number of tokens of the piece `bytes[0..length)`, of at most `maxPieceBytes`. */
export function countMerged(table: RankTable, bytes: Uint8Array, length: number): number {
  if (length <= 1) return length;
  heapSize = 0;
  for (let start = 0; start < length; start += 1) {
    next[start] = start + 1;
    previous[start] = start - 1;
    pairRank[start] = none;
    if (start + 2 <= length) offer(start, table.rankOf(bytes, start, start + 2));
  }
  let tokens = length;
  while (heapSize > 0) {
    const entry = takeLowest();
    const start = entry % startBits;
    // The pair has changed since it was offered.
    if (pairRank[start] !== (entry - start) / startBits) continue;
    const second = next[start] ?? length;
    const after = next[second] ?? length;
    next[start] = after;
    pairRank[second] = none;
    if (after < length) previous[after] = start;
    tokens -= 1;
    rerank(table, bytes, length, start);
    const before = previous[start] ?? none;
    if (before >= 0) rerank(table, bytes, length, before);
  }
  return tokens;
}

function rerank(table: RankTable, bytes: Uint8Array, length: number, start: number): void {
  const second = next[start] ?? length;
  pairRank[start] = none;
  if (second < length) offer(start, table.rankOf(bytes, start, next[second] ?? length));
}

function offer(start: number, rank: number): void {
  if (rank < 0) return;
  pairRank[start] = rank;
  const entry = rank * startBits + start;
  let at = heapSize;
  heapSize += 1;
  while (at > 0) {
    const parent = (at - 1) >> 1;
    const above = heap[parent] ?? 0;
    if (above <= entry) break;
    heap[at] = above;
    at = parent;
  }
  heap[at] = entry;
}

function takeLowest(): number {
  const lowest = heap[0] ?? 0;
  heapSize -= 1;
  const entry = heap[heapSize] ?? 0;
  let at = 0;
  for (let child = 1; child < heapSize; child = 2 * at + 1) {
    const right = heap[child + 1] ?? 0;
    if (child + 1 < heapSize && right < (heap[child] ?? 0)) child += 1;
    const below = heap[child] ?? 0;
    if (below >= entry) break;
    heap[at] = below;
    at = child;
  }
  heap[at] = entry;
  return lowest;
}
