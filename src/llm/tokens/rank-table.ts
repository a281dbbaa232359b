/**
 * The tokens of one of OpenAI's encodings and their ranks, in a hash table over their bytes. The files are those of
 * gpt-tokenizer, which are tiktoken's own; its code needs seven times the memory, blocks the thread for a quarter of a
 * second to load them, and takes quadratic time for a long word.
 */
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { inTurns } from './turns.ts';

/** Encodings of OpenAI's chat models. */
export type EncodingName = 'o200k_base' | 'cl100k_base';

export interface RankTable {
  /** The rank of the token that is `bytes[start..end)`, or -1. A lower rank is merged first. */
  rankOf(bytes: Uint8Array, start: number, end: number): number;
}

const linesPerTurn = 2000;
const newline = 10;
const space = 32;

/** Reads the file of an encoding in turns of the event loop. Throws where the package does not have it as published. */
export async function loadRankTable(name: EncodingName): Promise<RankTable> {
  const path = createRequire(import.meta.url).resolve(`gpt-tokenizer/data/${name}.tiktoken`);
  return inTurns(buildTable(await readFile(path), name));
}

/** Each line is the token in base64, a space and its rank; the rank is the number of the line. */
function* buildTable(file: Buffer, name: EncodingName): Generator<void, RankTable> {
  const bytes = Buffer.alloc(file.length);
  const ends: number[] = [];
  let length = 0;
  for (let at = 0; at < file.length;) {
    const blank = file.indexOf(space, at);
    const end = file.indexOf(newline, at);
    const rank = Number(file.toString('latin1', blank + 1, end));
    if (blank < 0 || end < blank || rank !== ends.length) {
      throw new Error(`line ${ends.length + 1} of ${name}.tiktoken has no token of that rank`);
    }
    length += bytes.write(file.toString('latin1', at, blank), length, 'base64');
    ends.push(length);
    at = end + 1;
    if (ends.length % linesPerTurn === 0) yield;
  }
  const table = new HashTable(Uint8Array.from(bytes.subarray(0, length)), Uint32Array.from(ends));
  for (let rank = 0; rank < ends.length; rank += 1) {
    table.add(rank);
    if (rank % (4 * linesPerTurn) === 0) yield;
  }
  return table;
}

/** Open addressing with linear probing; at most half of the slots are in use. */
class HashTable implements RankTable {
  readonly #bytes: Uint8Array;
  /** Of each rank, where its bytes end; they start at the end of the rank before. */
  readonly #ends: Uint32Array;
  /** A rank + 1, or 0. */
  readonly #slots: Int32Array;
  readonly #mask: number;

  constructor(bytes: Uint8Array, ends: Uint32Array) {
    this.#bytes = bytes;
    this.#ends = ends;
    const slots = 2 ** Math.ceil(Math.log2(2 * ends.length));
    this.#slots = new Int32Array(slots);
    this.#mask = slots - 1;
  }

  add(rank: number): void {
    const start = rank === 0 ? 0 : (this.#ends[rank - 1] ?? 0);
    let slot = hashOf(this.#bytes, start, this.#ends[rank] ?? 0) & this.#mask;
    while (this.#slots[slot] !== 0) slot = (slot + 1) & this.#mask;
    this.#slots[slot] = rank + 1;
  }

  rankOf(bytes: Uint8Array, start: number, end: number): number {
    const mask = this.#mask;
    const slots = this.#slots;
    for (let slot = hashOf(bytes, start, end) & mask; ; slot = (slot + 1) & mask) {
      const rank = (slots[slot] ?? 0) - 1;
      if (rank < 0 || this.#isToken(rank, bytes, start, end)) return rank;
    }
  }

  #isToken(rank: number, bytes: Uint8Array, start: number, end: number): boolean {
    const first = rank === 0 ? 0 : (this.#ends[rank - 1] ?? 0);
    if ((this.#ends[rank] ?? 0) - first !== end - start) return false;
    for (let at = start; at < end; at += 1) {
      if (this.#bytes[first + at - start] !== bytes[at]) return false;
    }
    return true;
  }
}

/** FNV-1a, with its high bits mixed into the low ones. */
function hashOf(bytes: Uint8Array, start: number, end: number): number {
  let hash = 0x811c9dc5;
  for (let at = start; at < end; at += 1) hash = Math.imul(hash ^ (bytes[at] ?? 0), 0x01000193);
  hash ^= hash >>> 15;
  return hash ^ (hash >>> 7);
}
