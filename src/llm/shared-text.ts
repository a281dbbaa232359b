/** Whether two texts share a passage, found in one pass over the longer one: a prompt can have megabytes. */

const factor = 0x01000193;
/** Of the table of hashes; a hit is verified, so that a collision is no match. */
const tableSize = 1 << 20;

/** True if a passage of `length` UTF-16 units of `short` occurs in `long`. */
export function sharesPassage(short: string, long: string, length: number): boolean {
  if (short.length < length || long.length < length) return false;
  const passages = new Set<string>();
  const table = new Uint8Array(tableSize);
  eachHash(short, length, (hash, at) => {
    table[hash] = 1;
    passages.add(short.slice(at, at + length));
    return false;
  });
  return eachHash(
    long,
    length,
    (hash, at) => table[hash] === 1 && passages.has(long.slice(at, at + length)),
  );
}

/** A rolling hash of every passage. Stops with true when `visit` returns true. */
function eachHash(
  text: string,
  length: number,
  visit: (hash: number, at: number) => boolean,
): boolean {
  let leading = 1;
  for (let unit = 1; unit < length; unit += 1) leading = Math.imul(leading, factor);
  let hash = 0;
  for (let end = 0; end < text.length; end += 1) {
    const at = end - length + 1;
    if (at > 0) hash = (hash - Math.imul(text.charCodeAt(at - 1), leading)) | 0;
    hash = (Math.imul(hash, factor) + text.charCodeAt(end)) | 0;
    if (at >= 0 && visit((hash ^ (hash >>> 12)) & (tableSize - 1), at)) return true;
  }
  return false;
}
