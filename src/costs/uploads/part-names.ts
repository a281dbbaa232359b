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

/** A number that a name states, and the rest of the name. */
interface NamedPart extends PartPosition {
  readonly fileName: string;
  readonly stem: string;
}

const fromZero = [azurePart, bigQueryPart];
const fromOne = [numberedPart, awsPart];

const withoutExtension = (fileName: string): string =>
  fileName.replace(/\.gz$/i, '').replace(/\.[a-z]+$/i, '');
const stemOf = (name: string): string => name.replaceAll(/[-_ ()]+/g, ' ').trim();

function namedPart(fileName: string): NamedPart | undefined {
  const name = withoutExtension(fileName);
  const found = [ofTotal, ...fromZero, ...fromOne].find((pattern) => pattern.test(name));
  const match = found?.exec(name);
  if (found === undefined || !match) return undefined;
  const [text, part, total] = match;
  return {
    fileName,
    part: Number(part) + (fromZero.includes(found) ? 1 : 0),
    total: total === undefined ? undefined : Number(total),
    stem: stemOf(name.replace(text, ' ')),
  };
}

/**
 * The position that a name states; undefined when it states none, or could be that of the only file: the first number
 * of a sequence without a total.
 */
export function positionInName(fileName: string): PartPosition | undefined {
  const named = namedPart(fileName);
  if (named === undefined || (named.total ?? named.part) < 2) return undefined;
  return { part: named.part, total: named.total };
}

const maxNamed = 5;

/**
 * Why files cannot be one whole export, by their names: a part is missing or given twice, or belongs to another
 * export. undefined when no name is that of a part, or nothing speaks against it.
 */
export function faultOfPartNames(fileNames: readonly string[]): string | undefined {
  const first = fileNames.find((name) => positionInName(name) !== undefined);
  if (first === undefined) return undefined;
  const total = positionInName(first)?.total;
  const parts = fileNames.map(
    (fileName) =>
      namedPart(fileName) ?? {
        fileName,
        part: 1,
        total: undefined,
        stem: stemOf(withoutExtension(fileName)),
      },
  );
  const stem = namedPart(first)?.stem;
  const other = parts.find((part) => part.total !== total || part.stem !== stem);
  if (other !== undefined) {
    const names = fileNames.filter((name) => name === first || name === other.fileName);
    return `${names.join(' and ')} are not parts of one export, by their names`;
  }
  const known = new Map<number, string>();
  for (const { part, fileName } of parts) {
    const same = known.get(part);
    if (same !== undefined) return `${fileName} is part ${part} like ${same}`;
    known.set(part, fileName);
  }
  const last = total ?? Math.max(...known.keys());
  const missing: number[] = [];
  // Some programs count from 0.
  const from = known.has(0) && total === undefined ? 0 : 1;
  for (let part = from; part <= last && missing.length <= maxNamed; part += 1) {
    if (!known.has(part)) missing.push(part);
  }
  return missing.length === 0 ? undefined : describeMissing(missing, total);
}

function describeMissing(missing: readonly number[], total: number | undefined): string {
  const more = missing.length > maxNamed ? ', ...' : '';
  const parts = `${missing.slice(0, maxNamed).join(', ')}${more}`;
  const of = total === undefined ? '' : ` of ${total}`;
  return missing.length === 1 ? `part ${parts}${of} is missing` : `parts ${parts}${of} are missing`;
}
