/**
 * Secret payload fields: `secret(z.string())` marks one, and what a schema marks is found here, as paths. A
 * mark that would protect nothing is refused when the handler is defined.
 */
import type { StandardSchemaV1 } from '@standard-schema/spec';
import { z } from 'zod';
import { nameStep, outermost } from '../crypto/secrets/fields.ts';
import type { SecretPath } from '../crypto/secrets/fields.ts';
import { messageOf, PurserError } from '../errors.ts';
import { isMarked, markedSchemas, secretMark } from './secret-marks.ts';

/**
 * Marks a field of a zod payload schema as secret: it is stored encrypted, opened only where the handler
 * runs, and kept out of everything that the attempt says.
 */
export function secret<S extends z.ZodType>(schema: S): S {
  return schema.meta({ [secretMark]: true });
}

type Node = Readonly<Record<string, unknown>>;

interface Search {
  readonly root: Node;
  readonly paths: Set<SecretPath>;
  readonly marked: Set<unknown>;
  readonly recursive: Set<unknown>;
}

/** Paths of the marked fields. Throws `invalid_handler` for a mark that cannot be obeyed. */
export function secretPathsOf(type: string, schema: StandardSchemaV1): SecretPath[] {
  if (!(schema instanceof z.ZodType)) return [];
  const marked = markedSchemas(schema);
  if (marked.length === 0) return [];
  const { root, described } = jsonSchemaOf(type, schema);
  const marks = marksIn(root);
  const search: Search = { root, paths: new Set(), marked: new Set(), recursive: new Set() };
  find(search, root, '$', ['#']);
  const refuse = (fault: string): never => {
    throw new PurserError('invalid_handler', `handler ${JSON.stringify(type)}: ${fault}`);
  };
  if (marked.some((each) => each.standing === 'lost' || !described.has(each.schema))) {
    refuse(
      'a secret field stands in what a transformation makes, or where JSON has no place for it; mark what goes in',
    );
  }
  if (search.paths.has('$')) refuse('mark the secret fields of its payload, not all of it');
  if ([...search.recursive].some((node) => marksIn(node).length > 0)) {
    refuse('a secret field stands in a schema that contains itself; give it a place of its own');
  }
  if (marks.some((node) => !search.marked.has(node))) {
    refuse('a secret field stands where a path cannot lead; use objects, lists and records');
  }
  return outermost([...search.paths]).toSorted();
}

interface Described {
  readonly root: Node;
  /** The schemas that the JSON Schema tells of. */
  readonly described: ReadonlySet<unknown>;
}

function jsonSchemaOf(type: string, schema: z.ZodType): Described {
  const described = new Set<unknown>();
  try {
    const root = z.toJSONSchema(schema, {
      io: 'input',
      unrepresentable: 'any',
      override: ({ zodSchema, jsonSchema }) => {
        described.add(zodSchema);
        if (isMarked(zodSchema)) jsonSchema[secretMark] = true;
      },
    });
    return { root, described };
  } catch (error) {
    throw new PurserError(
      'invalid_handler',
      `handler ${JSON.stringify(type)}: its payload schema has no JSON Schema, so that nobody can tell which fields are secret: ${messageOf(error)}`,
      { cause: error },
    );
  }
}

const isNode = (value: unknown): value is Node =>
  value !== null && typeof value === 'object' && !Array.isArray(value);

/** Every schema that carries the mark, wherever it stands. */
function marksIn(value: unknown): Node[] {
  if (value === null || typeof value !== 'object') return [];
  const below = Object.values(value).flatMap(marksIn);
  return isNode(value) && value[secretMark] === true ? [value, ...below] : below;
}

/** Follows every way from a schema into the values that it describes. */
function find(search: Search, schema: unknown, path: string, refs: readonly string[]): void {
  if (!isNode(schema)) return;
  if (schema[secretMark] === true) {
    search.marked.add(schema);
    // All of the value is encrypted; marks inside it have nothing left to do.
    for (const inner of marksIn(schema)) search.marked.add(inner);
    search.paths.add(path);
    return;
  }
  const ref = schema['$ref'];
  if (typeof ref === 'string') follow(search, ref, path, refs);
  for (const word of ['anyOf', 'oneOf', 'allOf']) {
    for (const part of listOf(schema[word])) find(search, part, path, refs);
  }
  for (const [name, field] of Object.entries(
    isNode(schema['properties']) ? schema['properties'] : {},
  )) {
    find(search, field, `${path}${nameStep(name)}`, refs);
  }
  find(search, schema['additionalProperties'], `${path}.*`, refs);
  if (isNode(schema['patternProperties'])) {
    for (const field of Object.values(schema['patternProperties']))
      find(search, field, `${path}.*`, refs);
  }
  for (const [index, item] of listOf(schema['prefixItems']).entries()) {
    find(search, item, `${path}[${index}]`, refs);
  }
  find(search, schema['items'], `${path}[*]`, refs);
}

function follow(search: Search, ref: string, path: string, refs: readonly string[]): void {
  const steps = ref.split('/').slice(1);
  const target = steps.reduce<unknown>(
    (node, step) => (isNode(node) ? node[decodeURIComponent(step)] : undefined),
    search.root,
  );
  if (refs.includes(ref)) search.recursive.add(target);
  else find(search, target, path, [...refs, ref]);
}

const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);
