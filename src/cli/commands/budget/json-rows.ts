/**
 * Rows of a provider's JSON: pages with buckets of results, as the APIs of OpenAI and Anthropic answer, arrays of rows,
 * and JSON lines, as BigQuery exports them. Fields of objects are joined with dots.
 */
import type { FileRow } from '../../../budget/reconcile/shapes/row.ts';
import { messageOf, PurserError } from '../../../errors.ts';

export interface JsonRows {
  readonly columns: readonly string[];
  readonly rows: readonly FileRow[];
  readonly notes: readonly string[];
}

type Fields = Readonly<Record<string, unknown>>;

const isObject = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const maxLevels = 5;

/** Throws `bad_json` and `file_empty`. `line` of a row is its line in JSON lines, and its number in a document. */
export function jsonRows(text: string, fileName: string): JsonRows {
  const { values, notes } = parse(text.replace(/^\uFEFF/, ''), fileName);
  const rows: FileRow[] = [];
  for (const { line, value } of values) {
    for (const fields of rowsOf(value, {}, notes)) {
      rows.push({ line: line ?? rows.length + 1, values: flatten(fields) });
    }
  }
  if (rows.length === 0) throw new PurserError('file_empty', `${fileName}: the JSON has no row`);
  const columns = new Set(rows.flatMap(({ values: named }) => [...named.keys()]));
  return { columns: [...columns], rows, notes: [...notes] };
}

interface Parsed {
  readonly values: readonly { readonly line?: number; readonly value: unknown }[];
  readonly notes: Set<string>;
}

function parse(text: string, fileName: string): Parsed {
  const notes = new Set<string>();
  try {
    return { values: [{ value: JSON.parse(text) }], notes };
  } catch (error) {
    const lines = text.split('\n').map((content, place) => ({ content, line: place + 1 }));
    const filled = lines.filter(({ content }) => content.trim() !== '');
    const values = filled.map(({ content, line }) => {
      try {
        return { line, value: JSON.parse(content) as unknown };
      } catch (lineError) {
        const place = filled.length > 1 && line > 1 ? `line ${line}: ` : '';
        const why = messageOf(line > 1 ? lineError : error).slice(0, 200);
        throw new PurserError('bad_json', `${fileName}: ${place}this is not JSON: ${why}`);
      }
    });
    return { values, notes };
  }
}

/** A page, a bucket, an array of either, or a row. What a bucket says of itself is part of each of its results. */
function* rowsOf(value: unknown, outer: Fields, notes: Set<string>): Generator<Fields> {
  if (Array.isArray(value)) {
    for (const item of value) yield* rowsOf(item, outer, notes);
    return;
  }
  if (!isObject(value)) return;
  if (Array.isArray(value['data'])) {
    if (value['has_more'] === true) {
      notes.add('a page of the file is not the last one (has_more): fetch the pages that follow');
    }
    yield* rowsOf(value['data'], outer, notes);
    return;
  }
  const results = value['results'] ?? value['result'];
  if (!Array.isArray(results)) {
    yield { ...outer, ...value };
    return;
  }
  const { results: _, result: __, ...bucket } = value;
  if (results.length === 0) yield { ...outer, ...bucket };
  else yield* rowsOf(results, { ...outer, ...bucket }, notes);
}

function flatten(fields: Fields): Map<string, string | null> {
  const values = new Map<string, string | null>();
  const put = (name: string, value: unknown, level: number): void => {
    if (isObject(value) && level < maxLevels) {
      for (const [key, inner] of Object.entries(value)) put(`${name}.${key}`, inner, level + 1);
      return;
    }
    values.set(name.toLowerCase(), textOf(value));
  };
  for (const [name, value] of Object.entries(fields)) put(name, value, 1);
  return values;
}

function textOf(value: unknown): string | null {
  if (value === null || value === undefined) return null;
  if (typeof value === 'string') return value.trim() === '' ? null : value.trim();
  return JSON.stringify(value) ?? null;
}
