/**
 * The mark of a secret field, and every schema that carries one, wherever zod lets a schema stand: also where
 * the JSON Schema of what goes in says nothing of it.
 */
import { z } from 'zod';

/** Also in the JSON Schema of the job type, for whoever reads that. */
export const secretMark = 'x-purser-secret';

type Schema = z.core.$ZodType;

/** Asks the schema's own zod too: a copy in the user's project may keep its marks to itself. */
export function isMarked(schema: Schema): boolean {
  const own = 'meta' in schema && isFunction(schema.meta) ? schema.meta() : undefined;
  return hasMark(own) || hasMark(z.globalRegistry.get(schema));
}

const isFunction = (value: unknown): value is () => unknown => typeof value === 'function';

const hasMark = (meta: unknown): boolean =>
  meta !== null && typeof meta === 'object' && Reflect.get(meta, secretMark) === true;

/** Of what a transformation makes only the place is known (`made`), not where its parts came from (`lost`). */
type Standing = 'given' | 'made' | 'lost';

export interface MarkedSchema {
  readonly schema: Schema;
  readonly standing: Standing;
}

/** Marked schemas of `root`, itself included; not those inside a marked one, all of which is encrypted. */
export function markedSchemas(root: Schema): MarkedSchema[] {
  const seen = { given: new Set<Schema>(), made: new Set<Schema>(), lost: new Set<Schema>() };
  const marked: MarkedSchema[] = [];
  const visit = (schema: Schema, standing: Standing): void => {
    if (seen[standing].has(schema)) return;
    seen[standing].add(schema);
    if (isMarked(schema)) marked.push({ schema, standing });
    else for (const part of partsOf(schema)) visit(part.schema, standingOf(part.name, standing));
  };
  visit(root, 'given');
  return marked;
}

/** Parts that stand at the same place as the whole; all others stand inside it. */
const samePlace = new Set(['innerType', 'getter', 'options', 'left', 'right', 'in', 'out']);

function standingOf(part: string, whole: Standing): Standing {
  if (part === 'out') return whole === 'given' ? 'made' : whole;
  return whole === 'given' || samePlace.has(part) ? whole : 'lost';
}

function partsOf({ _zod: { def } }: Schema): { name: string; schema: Schema }[] {
  const fields: [string, unknown][] = Object.entries(def);
  return fields.flatMap(([name, field]) => {
    const held: unknown = name === 'getter' && isFunction(field) ? field() : field;
    if (held === null || typeof held !== 'object') return [];
    const all: unknown[] = isSchema(held) ? [held] : Object.values(held);
    return all.filter(isSchema).map((schema) => ({ name, schema }));
  });
}

const isSchema = (value: unknown): value is Schema =>
  value !== null && typeof value === 'object' && '_zod' in value;
