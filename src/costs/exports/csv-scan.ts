/**
 * One pass over the bytes of a CSV record: where its fields are, and which are quoted. Allocates nothing per field.
 */

const quote = 0x22;
export const comma = 0x2c;
export const lineFeed = 0x0a;
export const carriageReturn = 0x0d;

/** Result of one pass over the bytes of one record. */
export interface Scanned {
  readonly next: number;
  readonly newlines: number;
  readonly unterminated: boolean;
}

/** Start, end and flags of each field of the last scanned record; reused, so that fields allocate nothing. */
export class FieldTable {
  readonly starts: number[] = [];
  readonly ends: number[] = [];
  readonly quoted: boolean[] = [];
  readonly escaped: boolean[] = [];
  readonly broken: boolean[] = [];
  /** Not quoted, with an odd number of quotes inside: one of the two around a value is missing. */
  readonly halfQuoted: boolean[] = [];
  count = 0;
  ascii = true;

  add(
    start: number,
    end: number,
    quoted: boolean,
    escaped: boolean,
    broken: boolean,
    halfQuoted: boolean,
  ): void {
    this.starts[this.count] = start;
    this.ends[this.count] = end;
    this.quoted[this.count] = quoted;
    this.escaped[this.count] = escaped;
    this.broken[this.count] = broken;
    this.halfQuoted[this.count] = halfQuoted;
    this.count += 1;
  }
}

export function scan(
  buffer: Buffer,
  from: number,
  atEnd: boolean,
  table: FieldTable,
): Scanned | null {
  const length = buffer.length;
  let at = from;
  let newlines = 0;
  let high = 0;
  table.count = 0;
  for (;;) {
    let start = at;
    let end = -1;
    let quoted = false;
    let escaped = false;
    let broken = false;
    if (at < length && buffer[at] === quote) {
      quoted = true;
      start = at + 1;
      at = start;
      for (; at < length; at += 1) {
        const byte = buffer[at] ?? 0;
        high |= byte;
        if (byte === lineFeed) newlines += 1;
        if (byte !== quote) continue;
        if (buffer[at + 1] !== quote) break;
        escaped = true;
        at += 1;
      }
      if (at >= length) {
        return atEnd ? { next: length, newlines, unterminated: true } : null;
      }
      end = at;
      at += 1;
    }
    const tail = at;
    let byte = -1;
    let quotes = 0;
    for (; at < length; at += 1) {
      byte = buffer[at] ?? 0;
      if (byte === comma || byte === lineFeed) break;
      if (byte === quote) quotes += 1;
      high |= byte;
    }
    if (at >= length) {
      if (!atEnd) return null;
      byte = -1;
    }
    let stop = at;
    // More than one: a program that writes LF as CRLF was given CRLF.
    if (byte !== comma) while (stop > tail && buffer[stop - 1] === carriageReturn) stop -= 1;
    if (quoted) broken = stop > tail;
    table.add(start, quoted ? end : stop, quoted, escaped, broken, !quoted && quotes % 2 === 1);
    at += 1;
    if (byte === comma) continue;
    table.ascii = high < 0x80;
    return { next: Math.min(at, length), newlines: newlines + 1, unterminated: false };
  }
}
