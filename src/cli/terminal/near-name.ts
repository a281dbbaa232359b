/** Finds the known name that a mistyped one stands for, or none where that would be a guess. */

/** Insertions, deletions, replacements and swaps of neighbours that make one text of the other. */
function editDistance(a: string, b: string): number {
  let before: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let row = 1; row <= a.length; row += 1) {
    const current = [row];
    for (let column = 1; column <= b.length; column += 1) {
      const isSame = a[row - 1] === b[column - 1];
      const isSwap = a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1];
      current[column] = Math.min(
        (last[column] ?? 0) + 1,
        (current[column - 1] ?? 0) + 1,
        (last[column - 1] ?? 0) + (isSame ? 0 : 1),
        isSwap ? (before[column - 2] ?? 0) + 1 : Number.POSITIVE_INFINITY,
      );
    }
    before = last;
    last = current;
  }
  return last[b.length] ?? 0;
}

const most = 3;
const longest = 100;

/**
 * The nearest of `known` within one slip per so many letters, at least one and at most three; upper and lower case are
 * the same. undefined where none is near.
 */
export function nearName(
  name: string,
  known: Iterable<string>,
  lettersPerSlip = 4,
): string | undefined {
  if (name.length > longest) return undefined;
  const given = name.toLowerCase();
  let nearest: { readonly name: string; readonly slips: number } | undefined;
  for (const candidate of known) {
    const slips = editDistance(given, candidate.toLowerCase());
    const allowed = Math.min(most, Math.max(1, Math.floor(candidate.length / lettersPerSlip)));
    if (slips <= allowed && (nearest === undefined || slips < nearest.slips)) {
      nearest = { name: candidate, slips };
    }
  }
  return nearest?.name;
}

/** `; did you mean NAME?`, or nothing. */
export const didYouMean = (nearest: string | undefined): string =>
  nearest === undefined ? '' : `; did you mean ${nearest}?`;
