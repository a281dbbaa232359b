/**
 * Secret payload fields: `secret(z.string())` marks one, and `secretPathsOf` lists the marked fields as paths. A
 * mark that cannot be applied to the stored payload is refused when the handler is defined.
 */
import type { StandardSchemaV1 } from '@standard-schema/spec';
import { z } from 'zod';
import { nameStep, outermost } from '../crypto/secrets/fields.ts';
import type { SecretPath } from '../crypto/secrets/fields.ts';
import { messageOf, PurserError } from '../errors.ts';
import { isMarked, markedSchemas, secretMark } from './secret-marks.ts';

/**
 * Marks a field of a zod payload schema as secret: it is stored encrypted, decrypted only where the handler
 * runs, and redacted from the attempt's result, errors, logs and progress.
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

/** Paths of the marked fields. Throws `invalid_handler` for a mark that cannot be applied. */
export function secretPathsOf(type: string, schema: StandardSchemaV1): SecretPath[] {
  if (!(schema instanceof z.ZodType)) return [];
  const marked = markedSchemas(schema);
  if (marked.length === 0) return [];
  const { root, described } = jsonSchemaOf(type, schema);
  const marks = marksIn(root);
  const search: Search = { root, paths: new Set(), marked: new Set(), recursive: new Set() };
  collectPaths(search, root, '$', ['#']);
  const refuse = (fault: string): never => {
    throw new PurserError('invalid_handler', `handler ${JSON.stringify(type)}: ${fault}`);
  };
  if (marked.some((each) => each.origin === 'output_part' || !described.has(each.schema))) {
    refuse(
      'a secret field is inside the output of a transformation, or has no place in the stored JSON; mark the input of the transformation',
    );
  }
  if (search.paths.has('$'))
    refuse('the whole payload is marked as secret; mark its secret fields');
  if ([...search.recursive].some((node) => marksIn(node).length > 0)) {
    refuse('a secret field is in a schema that contains itself; move it to a schema that does not');
  }
  if (marks.some((node) => !search.marked.has(node))) {
    refuse('a secret field has no path; secret fields may be in objects, arrays and records');
  }
  return outermost([...search.paths]).toSorted();
}

interface Described {
  readonly root: Node;
  /** The schemas that appear in the JSON Schema. */
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
      `handler ${JSON.stringify(type)}: its payload schema cannot be converted to JSON Schema, which lists the secret fields: ${messageOf(error)}`,
      { cause: error },
    );
  }
}

const isNode = (value: unknown): value is Node =>
  value !== null && typeof value === 'object' && !Array.isArray(value);

/** Every node that carries the mark. */
function marksIn(value: unknown): Node[] {
  if (value === null || typeof value !== 'object') return [];
  const below = Object.values(value).flatMap(marksIn);
  return isNode(value) && value[secretMark] === true ? [value, ...below] : below;
}

/** Visits every schema of a value, with its path. */
function collectPaths(
  search: Search,
  schema: unknown,
  path: string,
  refs: readonly string[],
): void {
  if (!isNode(schema)) return;
  if (schema[secretMark] === true) {
    search.marked.add(schema);
    // The whole value is encrypted, so marks inside it need no path.
    for (const inner of marksIn(schema)) search.marked.add(inner);
    search.paths.add(path);
    return;
  }
  const ref = schema['$ref'];
  if (typeof ref === 'string') followReference(search, ref, path, refs);
  for (const word of ['anyOf', 'oneOf', 'allOf']) {
    for (const part of listOf(schema[word])) collectPaths(search, part, path, refs);
  }
  for (const [name, field] of Object.entries(
    isNode(schema['properties']) ? schema['properties'] : {},
  )) {
    collectPaths(search, field, `${path}${nameStep(name)}`, refs);
  }
  collectPaths(search, schema['additionalProperties'], `${path}.*`, refs);
  if (isNode(schema['patternProperties'])) {
    for (const field of Object.values(schema['patternProperties']))
      collectPaths(search, field, `${path}.*`, refs);
  }
  for (const [index, item] of listOf(schema['prefixItems']).entries()) {
    collectPaths(search, item, `${path}[${index}]`, refs);
  }
  collectPaths(search, schema['items'], `${path}[*]`, refs);
}

function followReference(search: Search, ref: string, path: string, refs: readonly string[]): void {
  const steps = ref.split('/').slice(1);
  const target = steps.reduce<unknown>(
    (node, step) => (isNode(node) ? node[decodeURIComponent(step)] : undefined),
    search.root,
  );
  if (refs.includes(ref)) search.recursive.add(target);
  else collectPaths(search, target, path, [...refs, ref]);
}

const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);
