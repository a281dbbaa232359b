/**
 * The mark of a secret field, and a search for every schema that carries it, wherever zod lets a schema appear:
 * also where the JSON Schema of the input does not show it.
 */
import { z } from 'zod';

/** Also written into the JSON Schema of the job type. */
export const secretMark = 'x-purser-secret';

type Schema = z.core.$ZodType;

/** Asks the schema's own zod too: another copy of zod in the user's project has a registry of its own. */
export function isMarked(schema: Schema): boolean {
  const own = 'meta' in schema && isFunction(schema.meta) ? schema.meta() : undefined;
  return hasMark(own) || hasMark(z.globalRegistry.get(schema));
}

const isFunction = (value: unknown): value is () => unknown => typeof value === 'function';

const hasMark = (meta: unknown): boolean =>
  meta !== null && typeof meta === 'object' && Reflect.get(meta, secretMark) === true;

/**
 * Where a schema's value comes from: the input itself, the output of a transformation (its place is known), or
 * part of such an output (its place in the input is unknown).
 */
type Origin = 'input' | 'output' | 'output_part';

export interface MarkedSchema {
  readonly schema: Schema;
  readonly origin: Origin;
}

/** Marked schemas of `root`, itself included; not those inside a marked one, all of which is encrypted. */
export function markedSchemas(root: Schema): MarkedSchema[] {
  const seen = {
    input: new Set<Schema>(),
    output: new Set<Schema>(),
    output_part: new Set<Schema>(),
  };
  const marked: MarkedSchema[] = [];
  const visit = (schema: Schema, origin: Origin): void => {
    if (seen[origin].has(schema)) return;
    seen[origin].add(schema);
    if (isMarked(schema)) marked.push({ schema, origin });
    else for (const part of partsOf(schema)) visit(part.schema, originOf(part.name, origin));
  };
  visit(root, 'input');
  return marked;
}

/** Parts at the same path as the whole schema; all others are inside it. */
const samePath = new Set(['innerType', 'getter', 'options', 'left', 'right', 'in', 'out']);

function originOf(part: string, whole: Origin): Origin {
  if (part === 'out') return whole === 'input' ? 'output' : whole;
  return whole === 'input' || samePath.has(part) ? whole : 'output_part';
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
