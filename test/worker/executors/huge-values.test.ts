/**
 * Values of any size at every door of a handler: V8 ends the whole process, not one thread, when the text or the JSON
 * of a value does not fit into the thread's heap, so no door makes one of unbounded size.
 */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openPool } from './built-executors.ts';
import type { BuiltPool } from './built-executors.ts';

const outcomes = join(import.meta.dirname, '../../../dist/handlers/outcome.js');
const handlers = `
import { done, retry, snooze, park, cancel } from '${outcomes}';
const kilobyte = 'k'.repeat(1_024);
const values = {
  'a text of 100 MB': () => 'x'.repeat(100_000_000),
  'a text of 300 MB in two bytes per character': () => '\\u4e2d'.repeat(150_000_000),
  'an object with a text of 100 MB': () => ({ text: 'x'.repeat(100_000_000) }),
  'an object with a key of 20 MB': () => ({ ['x'.repeat(20_000_000)]: 1 }),
  'a list of 1 GB': () => Array(1_000_000).fill(kilobyte),
  'a list with 4 billion holes': () => new Array(4_000_000_000),
  'lists of lists of lists': () => [1, 2, 3, 4, 5].reduce((inner) => Array(100).fill(inner), kilobyte),
  'a typed array of 100 MB': () => new Uint8Array(100_000_000),
  'an object with a typed array of 100 MB': () => ({ bytes: new Float64Array(12_500_000) }),
  'a buffer of 100 MB': () => Buffer.alloc(100_000_000),
  'an object with a buffer of 100 MB': () => ({ deeper: { list: [Buffer.alloc(100_000_000)] } }),
  'a text object of 100 MB': () => new String('x'.repeat(100_000_000)),
  'objects inside objects, 100,000 deep': () => { let value = {}; for (let n = 0; n < 100_000; n += 1) value = { value }; return value; },
  'a map with 200,000 entries': () => new Map(Array.from({ length: 200_000 }, (_, key) => [key, kilobyte])),
  'an object whose toJSON is a text of 100 MB': () => ({ toJSON: () => 'x'.repeat(100_000_000) }),
};
// An error's constructor would make one text of a list itself.
const errorOf = (message) => Object.assign(new Error('x'), { message });
const until = (signal) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
const later = () => new Promise((resolve) => setTimeout(resolve, 20));
const doors = {
  'the result': (_, value) => value,
  'the result of done()': (_, value) => done(value),
  'a field of the result': (_, value) => ({ deep: [{ value }] }),
  'what is thrown': (_, value) => { throw value; },
  'the message of an error': (_, value) => { throw errorOf(value); },
  'the stack of an error': (_, value) => { throw Object.assign(new Error('x'), { stack: value }); },
  'the code of an error': (_, value) => { throw Object.assign(new Error('x'), { code: value }); },
  'the name of an error': (_, value) => { throw Object.assign(new Error('x'), { name: value }); },
  'the status of an error': (_, value) => { throw Object.assign(new Error('x'), { status: value, headers: { 'retry-after': value } }); },
  'the cause of an error': (_, value) => { throw new Error('x', { cause: value }); },
  'the message of a cause': (_, value) => { throw new Error('x', { cause: errorOf(value) }); },
  'the details of an error': (_, value) => { throw Object.assign(new Error('x'), { details: value }); },
  'a rejection that nobody handles': ({ signal }, value) => { void Promise.reject(value); return until(signal); },
  'a rejection with its message': ({ signal }, value) => { void Promise.reject(errorOf(value)); return until(signal); },
  'an exit code': (_, value) => process.exit(value),
  'a reason to retry': (_, value) => retry({ reason: value, afterMs: 1 }),
  'a reason to snooze': (_, value) => snooze({ reason: value, afterMs: 1 }),
  'a reason to park': (_, value) => park({ reason: value, neededUsd: '1' }),
  'the amount to park for': (_, value) => park({ reason: 'x', neededUsd: value }),
  'a reason to cancel': (_, value) => cancel({ reason: value }),
  'a note of progress': async ({ progress }, value) => { progress(0.5, value); await later(); },
  'an event of the log': async ({ log }, value) => { log.info(value); await later(); },
  'a field of the log': async ({ log }, value) => { log.info({ value }, 'event'); await later(); },
  'an error of the log': async ({ log }, value) => { log.error({ error: Object.assign(errorOf(value), { code: value }) }, 'event'); await later(); },
  'an err of the log': async ({ log }, value) => { log.error(errorOf(value)); await later(); },
  'an argument of the log': async ({ log }, value) => { log.info('%s %o', value, value); await later(); },
  'a binding of a child log': async ({ log }, value) => { log.child({ value }).child({ value }).info('event'); await later(); },
  'bindings of the log': async ({ log }, value) => { log.setBindings({ value }); log.info('event'); await later(); },
  'the type of a child job': ({ enqueue }, value) => enqueue(value),
  'the payload of a child job': ({ enqueue }, value) => enqueue('child', value),
  'a field of the payload of a child job': ({ enqueue }, value) => enqueue('child', { value }),
  'the dedup key of a child job': ({ enqueue }, value) => enqueue('child', {}, { dedupKey: value }),
  'the group of a child job': ({ enqueue }, value) => enqueue('child', {}, { group: value }),
  'the system prompt of a call': ({ llm }, value) => llm.generate({ system: value, prompt: 'x', maxOutputTokens: 1 }),
  'the prompt of a call': ({ llm }, value) => llm.generate({ system: 'x', prompt: value, maxOutputTokens: 1 }),
  'the model of a call': ({ llm }, value) => llm.generate({ system: 'x', prompt: 'x', model: value, maxOutputTokens: 1 }),
  'the schema of a call': ({ llm }, value) => llm.generate({ system: 'x', prompt: 'x', maxOutputTokens: 1,
    schema: { '~standard': { validate: () => ({ value }), jsonSchema: { input: () => ({ value }) } } } }),
};
const h = (type, run) => ({ type, timeoutMs: 20_000, maxAttempts: 3, run });
export const names = { doors: Object.keys(doors), values: Object.keys(values) };
export const handlers = [
  h('neighbour', async () => { await later(); return process.pid; }),
  h('huge', async (ctx) => doors[ctx.payload.door](ctx, values[ctx.payload.value]())),
  h('names', async () => names),
];
`;
const keysOf = (name: string): string[] => {
  const body = new RegExp(String.raw`const ${name} = \{(.*?)\n\};`, 's').exec(handlers)?.[1] ?? '';
  return [...body.matchAll(/^ {2}'([^']+)':/gm)].map(([, key]) => key ?? '');
};
const doors = keysOf('doors');
const values = keysOf('values');

let pool: BuiltPool;
beforeAll(async () => {
  pool = await openPool(handlers, { threads: 2 });
});
afterAll(() => pool.close());

describe.each(doors)('%s', (door) => {
  it.each(values)('can be %s: its attempt ends, and nothing else does', async (value) => {
    const before = pool.events().length;
    const neighbours = [pool.run('neighbour'), pool.run('neighbour')];
    const end = await pool.run('huge', { payload: JSON.stringify({ door, value }) });
    const ended = await Promise.all(neighbours);
    expect(ended.map(({ result }) => result)).toEqual([process.pid, process.pid]);
    expect(JSON.stringify(end).length).toBeLessThan(3_000_000);
    expect(pool.events().slice(before)).not.toContain('executor_killed');
  });
});

it('every door and every value was tried', async () => {
  expect((await pool.run('names')).result).toEqual({ doors, values });
  expect(doors.length * values.length).toBeGreaterThan(500);
});
