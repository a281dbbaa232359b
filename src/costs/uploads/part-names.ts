/** File names that providers give to the parts of one export. */

export interface PartPosition {
  /** Counted from 1. */
  readonly part: number;
  readonly total: number | undefined;
}

/** `part_2_of_3`, `2-of-3`, `(2 of 3)`. */
const ofTotal = /(?:^|[^a-z0-9])(?:part[-_ ]?)?(\d{1,6})[-_ ]?of[-_ ]?(\d{1,6})(?![a-z0-9])/i;
/** `part_1_0001` (Azure), counted from 0. */
const azurePart = /(?:^|[^a-z0-9])part_(\d{1,6})_\d{4}(?![a-z0-9])/i;
/** `part2`, `part-00002`; some programs count from 0. */
const numberedPart = /(?:^|[^a-z0-9])part[-_ ]?(\d{1,6})(?![a-z0-9])/i;
/** `name-00002` (AWS). */
const awsPart = /[^0-9]-(\d{5})$/;
/** `name000000000001` (BigQuery), counted from 0. */
const bigQueryPart = /(?:^|[^0-9])(\d{12})$/;

/**
 * The position that a name states; undefined when it states none, or could be that of the only file: the first number
 * of a sequence without a total.
 */
export function positionInName(fileName: string): PartPosition | undefined {
  const name = fileName.replace(/\.gz$/i, '').replace(/\.[a-z]+$/i, '');
  const [, part, total] = ofTotal.exec(name) ?? [];
  if (total !== undefined) {
    return Number(total) < 2 ? undefined : { part: Number(part), total: Number(total) };
  }
  const fromZero = azurePart.exec(name)?.[1] ?? bigQueryPart.exec(name)?.[1];
  const fromOne = numberedPart.exec(name)?.[1] ?? awsPart.exec(name)?.[1];
  const position = fromZero === undefined ? Number(fromOne ?? 1) : Number(fromZero) + 1;
  return position < 2 ? undefined : { part: position, total: undefined };
}
