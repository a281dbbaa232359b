import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { secret, secretPathsOf } from '../../src/handlers/secret.ts';
import { defineHandler } from '../../src/handlers/define.ts';
import { hideSealed } from '../../src/crypto/secrets/fields.ts';

const text = secret(z.string());

/** Of a copy of zod that has a registry of its own, as older releases do. */
async function textOfAnotherZod(): Promise<z.ZodString> {
  const folder = await mkdtemp(join(tmpdir(), 'purser-zod-'));
  const copy = join(folder, 'node_modules/zod');
  await cp(join(import.meta.dirname, '../../node_modules/zod'), copy, { recursive: true });
  const registry: unknown = Reflect.get(globalThis, '__zod_globalRegistry');
  Reflect.deleteProperty(globalThis, '__zod_globalRegistry');
  try {
    const other: { z: typeof z } = await import(pathToFileURL(join(copy, 'index.js')).href);
    return secret(other.z.string()).min(2);
  } finally {
    Reflect.set(globalThis, '__zod_globalRegistry', registry);
    await rm(folder, { recursive: true });
  }
}
const foreignText = await textOfAnotherZod();

const define = (payload: z.ZodType) =>
  defineHandler({
    type: 'test_secret',
    timeoutMs: 1,
    maxAttempts: 1,
    payload,
    run: () => Promise.resolve(),
  });

describe('a mark', () => {
  it.each([
    ['a field', z.object({ a: text }), ['$."a"']],
    ['a field refined after it', z.object({ a: text.min(3).max(9).refine(Boolean) }), ['$."a"']],
    ['an optional, nullable field', z.object({ a: text.nullable().optional() }), ['$."a"']],
    ['a field with a default', z.object({ a: text.default('x') }), ['$."a"']],
    ['the input of a transformation', z.object({ a: text.transform(Number) }), ['$."a"']],
    ['a field with other meta data', z.object({ a: text.meta({ title: 'A' }) }), ['$."a"']],
    ['a field of a list', z.object({ l: z.array(z.object({ a: text })) }), ['$."l"[*]."a"']],
    ['an element of a tuple', z.object({ t: z.tuple([z.number(), text]) }), ['$."t"[1]']],
    ['every value of a record', z.object({ r: z.record(z.string(), text) }), ['$."r".*']],
    ['a branch', z.object({ u: z.union([z.object({ a: text }), z.null()]) }), ['$."u"."a"']],
    [
      'a schema with a name',
      z.object({ n: z.object({ a: text }).meta({ id: 'N' }) }),
      ['$."n"."a"'],
    ],
    ['a name with special characters', z.object({ 'a "b.c': text }), ['$."a \\"b.c"']],
    ['a whole object', z.object({ o: secret(z.object({ a: text })) }), ['$."o"']],
    ['a preprocessed field', z.object({ a: z.preprocess(String, text) }), ['$."a"']],
    ['a whole transformation', z.object({ a: secret(z.string().pipe(text)) }), ['$."a"']],
    ['a lazy field', z.object({ a: z.lazy(() => text) }), ['$."a"']],
    ['a field of another copy of zod', z.object({ a: foreignText }), ['$."a"']],
    [
      'an array of a union',
      z.object({ l: z.array(z.union([z.object({ a: text }), z.array(text), text])) }),
      ['$."l"[*]'],
    ],
    [
      'a field and all others',
      z.object({ a: text, r: z.record(z.string(), text) }).catchall(text),
      ['$.*'],
    ],
    ['two fields', z.object({ b: text, c: z.number(), a: text }), ['$."a"', '$."b"']],
    ['nothing', z.object({ a: z.string() }), []],
  ])('is found on %s', (_name, schema, paths) => {
    expect(secretPathsOf('test_secret', schema)).toEqual(paths);
    expect(define(schema).secretPaths).toEqual(paths);
  });

  it('that cannot be applied is refused when the handler is defined', () => {
    expect(() => define(secret(z.object({ a: z.string() })))).toThrow(
      /the whole payload is marked/,
    );
    const tree: z.ZodType = z.object({
      a: text,
      get more() {
        return z.array(tree);
      },
    });
    expect(() => define(tree)).toThrow(/contains itself/);
  });

  it.each([
    ['the output of a transformation', z.object({ a: z.string().transform(String).pipe(text) })],
    ['the second of two schemas', z.object({ a: z.string().pipe(text) })],
    ['a part of a preprocessed text', z.object({ a: z.preprocess(Object, z.object({ b: text })) })],
    ['a part of a preprocessed payload', z.preprocess(Object, z.object({ a: text.optional() }))],
    ['the values of a map', z.object({ a: z.map(z.string(), text) })],
  ])('is refused on %s, where the stored payload has no such field', (_name, schema) => {
    expect(() => define(schema)).toThrow(/mark the input of the transformation/);
  });
});

it('operators see [secret] in place of encrypted values, and everything else unchanged', () => {
  const sealed = { $secret: 'v2.1.AAAA' };
  const payload = { a: sealed, l: [sealed, 1], o: { $secret: 'x', more: 1 }, n: null };
  expect(hideSealed(payload)).toEqual({
    a: '[secret]',
    l: ['[secret]', 1],
    o: { $secret: 'x', more: 1 },
    n: null,
  });
});
