/** A handler that changes a built-in changes it for its own job only: later jobs run in another thread. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { AttemptEnd } from '../../../src/jobs/attempts.ts';
import { eventually } from '../../jobs/job-steps.ts';
import { openPool } from './built-executors.ts';
import type { BuiltPool } from './built-executors.ts';

/** A change, and code that tells whether it is there. */
const patches: Readonly<Record<string, readonly [change: string, isThere: string]>> = {
  'Array.prototype.map': [
    'Array.prototype.map = () => { throw new Error("map"); }',
    '![1].map(String)',
  ],
  'JSON.stringify': ['JSON.stringify = () => "{}"', 'JSON.stringify([]) !== "[]"'],
  'Promise.prototype.then': [
    'Promise.prototype.then = function () { return this; }',
    '!Promise.prototype.then.toString().includes("native")',
  ],
  'globalThis.fetch': [
    'globalThis.fetch = async () => "mine"',
    '!fetch.toString().includes("input")',
  ],
  'globalThis.Headers': ['globalThis.Headers = class Mine {}', 'Headers.name === "Mine"'],
  'Headers.prototype.get': [
    'Headers.prototype.get = () => "mine"',
    'new Headers().get("x") === "mine"',
  ],
  'Response.prototype.json': [
    'Response.prototype.json = async () => "mine"',
    '(await Response.json(1).json()) === "mine"',
  ],
  'FormData.prototype.append': [
    'FormData.prototype.append = () => {}',
    'FormData.prototype.append.length === 0',
  ],
  'Request.prototype.url': [
    'Object.defineProperty(Request.prototype, "url", { get: () => "mine", configurable: true })',
    'new Request("http://x").url === "mine"',
  ],
  'ReadableStream.prototype.tee': [
    'delete ReadableStream.prototype.tee',
    'ReadableStream.prototype.tee === undefined',
  ],
  'Object.prototype.x': ['Object.prototype.x = 1', '"x" in {}'],
  'Date.now': ['Date.now = () => 7', 'Date.now() === 7'],
  'globalThis.setTimeout': ['globalThis.setTimeout = () => 7', 'setTimeout.length === 0'],
  'process.emit': ['process.emit = () => true', 'process.emit.toString() === "() => true"'],
  'Buffer.from': ['Buffer.from = () => Buffer.alloc(1)', 'Buffer.from("abc").length === 1'],
  'Map.prototype.size': [
    'Object.defineProperty(Map.prototype, "size", { get: () => 7, configurable: true })',
    'new Map().size === 7',
  ],
  'Array.prototype[Symbol.iterator]': [
    'Array.prototype[Symbol.iterator] = function* () {}',
    '[...[1]].length === 0',
  ],
  'Array.prototype.at': ['delete Array.prototype.at', '[].at === undefined'],
  'Array.prototype.__proto__': [
    'Object.setPrototypeOf(Array.prototype, Object.create(Object.prototype))',
    'Object.getPrototypeOf(Array.prototype) !== Object.prototype',
  ],
  '%Generator%.__proto__.next': [
    'Object.getPrototypeOf((function* () {})()).__proto__.next = () => ({ done: true })',
    '[...(function* () { yield 1; })()].length === 0',
  ],
  'globalThis.JSON': ['globalThis.JSON = { ...JSON, mine: 1 }', 'JSON.mine === 1'],
  'node:http.request': [
    '(await import("node:http")).default.request = null',
    '(await import("node:http")).default.request === null',
  ],
  'console.log': ['console.log = () => {}', 'console.log.toString() === "() => {}"'],
  'process.stdout.write': [
    'process.stdout.write = () => true',
    'process.stdout.write.toString() === "() => true"',
  ],
};

/** Purser's own code cannot end the attempt as it was; it ends all the same. */
const breaksItsEnd = new Set([
  'Array.prototype.map',
  'JSON.stringify',
  'Array.prototype[Symbol.iterator]',
]);

const ordinary = `
  await fetch('http://127.0.0.1:1').catch(() => {});
  new Headers(); new FormData(); new Blob([]); new URL('http://x'); crypto.subtle; new CompressionStream('gzip');
  structuredClone({}); performance.mark('x'); /x/.exec('x'); globalThis.mine = 1; globalThis[Symbol.for('mine')] = 1;
  process.env.MINE = '1'; process.mine = 1; process.once('mine', () => {}); Error.stackTraceLimit = 20;
  const fs = await import('node:fs'); await fs.promises.readFile('/etc/hosts'); await import('node:worker_threads');
  await import('node:child_process'); console.log(''); process.stdout.write('');
  new Intl.NumberFormat().format(1); await new Promise((resolve) => setTimeout(resolve, 1));
  const http = await import('node:http');
  await new Promise((resolve) => { const server = http.createServer((_, answer) => answer.end('x')).listen(0, async () => {
    await (await fetch('http://127.0.0.1:' + server.address().port)).text();
    server.closeAllConnections(); server.close(resolve); }); });`;

const handlers = `
import { threadId } from 'node:worker_threads';
String.prototype.polyfill = () => 'of the module';
const loadedFetch = globalThis.fetch;
globalThis.fetch = function (input) { return loadedFetch.apply(this, arguments); };
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const h = (type, run, more = {}) => ({ type, timeoutMs: 20_000, maxAttempts: 3, run, ...more });
export const handlers = [
  h('ordinary', async () => { ${ordinary} }),
  h('nap', async () => { await sleep(700); return threadId; }),
  h('fails', async () => { throw new Error('no'); }),
  h('where', async () => ({ threadId, polyfill: 'x'.polyfill() })),
  ${Object.values(patches)
    .map(
      ([change, isThere], n) =>
        `h('change_${n}', async () => { ${change}; return 1; }), h('probe_${n}', async () => ${isThere}),`,
    )
    .join('\n')}
];`;

let pool: BuiltPool;
beforeEach(async () => {
  pool = await openPool(handlers);
});
afterEach(() => pool.close());

const numbered = Object.keys(patches).map((name, n) => [name, n] as const);
const changes = (): number => pool.events().filter((event) => event === 'built_in_changed').length;
const untilChanges = (count: number) =>
  eventually('the change to be seen', () => Promise.resolve(changes() >= count ? true : undefined));
const resultOf = ({ toState, result, error }: AttemptEnd): unknown =>
  toState === 'completed' ? result : { toState, error };
const threadOf = async (): Promise<unknown> => Object(resultOf(await pool.run('where'))).threadId;

describe.each(numbered)('a job that changes %s', (name, n) => {
  it('ends, is named, and changes nothing for the jobs after it', async () => {
    const before = await threadOf();
    const changing = await pool.run(`change_${n}`);
    const states = breaksItsEnd.has(name) ? ['completed', 'failed', 'pending'] : ['completed'];
    expect(states).toContain(changing.toState);
    await untilChanges(1);
    const line = pool.lines().find(({ event }) => event === 'built_in_changed');
    expect(line).toMatchObject({ jobTypes: expect.arrayContaining([`change_${n}`]) });
    expect(line?.['property']).toBe(name);
    expect(resultOf(await pool.run(`probe_${n}`))).toBe(false);
    expect(await threadOf()).not.toBe(before);
  });
});

it('what the module of the handlers changes while it loads is kept, and ordinary use is no change', async () => {
  const before = await threadOf();
  for (let n = 0; n < 5; n += 1) {
    expect(await pool.run('ordinary')).toMatchObject({ toState: 'completed' });
  }
  await pool.run('nap');
  const retired = ['built_in_changed', 'executor_blocked', 'executor_retired', 'executor_killed'];
  expect(pool.lines().filter(({ event }) => retired.includes(String(event)))).toEqual([]);
  expect(resultOf(await pool.run('where'))).toEqual({
    threadId: before,
    polyfill: 'of the module',
  });
});

describe('a changed thread', () => {
  const objectPrototype = Object.keys(patches).indexOf('Object.prototype.x');
  const map = Object.keys(patches).indexOf('Array.prototype.map');

  it('lets the jobs end that run on it', async () => {
    const before = await threadOf();
    const nap = pool.run('nap');
    await pool.run(`change_${objectPrototype}`);
    await untilChanges(1);
    expect(resultOf(await nap)).toBe(before);
  });

  it('does not judge jobs that fail on it: they run alone next, and are judged there', async () => {
    await threadOf();
    const [, failed] = await Promise.all([pool.run(`change_${map}`), pool.run('fails')]);
    expect(failed).toMatchObject({ toState: 'pending', countsAttempt: false, suspect: true });
    expect(await pool.run('fails', { isolated: true })).toMatchObject({
      toState: 'failed',
      countsAttempt: true,
    });
  });

  it('is the last one of a job type that changed built-ins alone: its next jobs have threads of their own', async () => {
    await threadOf();
    await pool.run('nap');
    await pool.run('nap');
    await pool.run(`change_${objectPrototype}`);
    await untilChanges(1);
    const before = await threadOf();
    expect(resultOf(await pool.run(`change_${objectPrototype}`))).toBe(1);
    expect(await threadOf()).toBe(before);
    expect(changes()).toBe(1);
  });
});
