/** What the methods of a handler's context say to arguments that a compiler would not let through. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openPool } from './built-executors.ts';
import type { BuiltPool } from './built-executors.ts';

const handlers = `
const trap = () => { throw new Error('trap'); };
const circular = {}; circular.self = circular;
const odd = { 'no argument': [], null: [null], undefined: [undefined], 'a number': [7], NaN: [NaN], 'a text': ['x'],
  'a function': [() => {}], 'a symbol': [Symbol('x')], 'a bigint': [7n], 'a circle': [circular],
  'a getter that throws': [{ get system() { throw new Error('trap'); }, get a() { throw new Error('trap'); } }],
  'a proxy that throws': [new Proxy({}, { get: trap, ownKeys: trap, has: trap, getPrototypeOf: trap })] };
const methods = {
  'ctx.progress': (ctx, ...odd) => ctx.progress(0.5, ...odd),
  'ctx.enqueue': (ctx, ...odd) => ctx.enqueue(...odd),
  'ctx.enqueue payload': (ctx, ...odd) => ctx.enqueue('child', ...odd),
  'ctx.enqueue options': (ctx, ...odd) => ctx.enqueue('child', {}, ...odd),
  'ctx.enqueue runAt': (ctx, ...odd) => ctx.enqueue('child', {}, { runAt: odd[0] }),
  'ctx.enqueue dedupKey': (ctx, ...odd) => ctx.enqueue('child', {}, { dedupKey: odd[0] }),
  'ctx.enqueue group': (ctx, ...odd) => ctx.enqueue('child', {}, { group: odd[0] }),
  'ctx.enqueue priority': (ctx, ...odd) => ctx.enqueue('child', {}, { priority: odd[0] }),
  'ctx.llm.generate': (ctx, ...odd) => ctx.llm.generate(...odd),
  'ctx.sql.begin': (ctx, ...odd) => ctx.sql.begin(...odd),
  'ctx.sql.begin options': (ctx, ...odd) => ctx.sql.begin(async () => {}, ...odd),
  'ctx.sql.begin complete': (ctx, ...odd) => ctx.sql.begin(async () => {}, { complete: odd[0] }),
  'ctx.log.info': (ctx, ...odd) => ctx.log.info(...odd),
  'ctx.log.child': (ctx, ...odd) => ctx.log.child(...odd).info('x'),
};
const said = async (method, what) => {
  try { await method(what); return { ok: true }; } catch (error) {
    return { code: String(error.code), message: String(error.message), purser: 'details' in error };
  }
};
const h = (type, run) => ({ type, timeoutMs: 20_000, maxAttempts: 3, run });
export const handlers = [
  h('walk', async (ctx) => {
    const table = [];
    for (const [name, call] of Object.entries(methods))
      for (const [what, args] of Object.entries(odd)) table.push({ name, what, ...(await said(() => call(ctx, ...args))) });
    table.push({ name: 'ctx.enqueue runAt', what: 'the first Date', ...(await said(() => ctx.enqueue('child', {}, { runAt: new Date(-8.64e15) }))) });
    const options = { runat: new Date(), tenantId: 'bravo', dedupWindowMs: 1, onDuplicate: 'reject' };
    for (const [what, value] of Object.entries(options))
      table.push({ name: 'ctx.enqueue', what, ...(await said(() => ctx.enqueue('child', {}, { [what]: value }))) });
    for (const name of ['completed', 'mode'])
      table.push({ name: 'ctx.sql.begin', what: name, ...(await said(() => ctx.sql.begin(async () => {}, { [name]: true }))) });
    return table;
  }),
];
`;
interface Said {
  readonly name: string;
  readonly what: string;
  readonly ok?: boolean;
  readonly code?: string;
  readonly message?: string;
  readonly purser?: boolean;
}

let pool: BuiltPool;
let table: readonly Said[];
beforeAll(async () => {
  pool = await openPool(handlers);
  const end = await pool.run('walk');
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what the handler above returns
  table = end.result as readonly Said[];
});
afterAll(() => pool.close());

describe('each method with each odd argument', () => {
  it('accepts it, or throws an error of Purser with a code that names what is wrong', () => {
    const codes = new Set(['invalid_argument', 'invalid_request', 'invalid_payload', 'usage']);
    // The arguments are taken; there is no database.
    codes.add('database_unavailable');
    const raw = table.filter(({ ok, code }) => ok !== true && !codes.has(code ?? ''));
    expect(raw).toEqual([]);
    expect(table).toHaveLength(14 * 12 + 1 + 4 + 2);
  });

  it.each([
    ['ctx.progress', 'a circle', /^ctx\.progress: the note must be a string/],
    ['ctx.enqueue', 'no argument', /^the job type must be a string, not undefined/],
    ['ctx.enqueue payload', 'a function', /^the payload must be a JSON object/],
    [
      'ctx.enqueue',
      'runat',
      /^ctx\.enqueue has no option "runat"; it has dedupKey, runAt, priority, group$/,
    ],
    ['ctx.enqueue', 'tenantId', /^ctx\.enqueue has no option "tenantId"/],
    ['ctx.enqueue', 'dedupWindowMs', /^ctx\.enqueue has no option "dedupWindowMs"/],
    ['ctx.enqueue', 'onDuplicate', /^ctx\.enqueue has no option "onDuplicate"/],
    ['ctx.enqueue group', 'a number', /^the group must be a string, not number$/],
    ['ctx.enqueue group', 'null', /^the group must be a string, not object$/],
    ['ctx.enqueue runAt', 'the first Date', /^runAt must be a valid Date/],
    ['ctx.llm.generate', 'no argument', /^ctx\.llm\.generate: /],
    ['ctx.sql.begin', 'a text', /^ctx\.sql\.begin: /],
    ['ctx.sql.begin', 'completed', /^ctx\.sql\.begin has no option "completed"; it has complete$/],
    ['ctx.sql.begin', 'mode', /^ctx\.sql\.begin has no option "mode"/],
    ['ctx.sql.begin options', 'a text', /^ctx\.sql\.begin: its options must be an object/],
    ['ctx.sql.begin options', 'null', /^ctx\.sql\.begin: its options must be an object/],
    ['ctx.sql.begin options', 'a proxy that throws', /^ctx\.sql\.begin: its options must be/],
    ['ctx.sql.begin complete', 'a text', /^ctx\.sql\.begin: complete must be true or false/],
    ['ctx.sql.begin complete', 'a number', /^ctx\.sql\.begin: complete must be true or false/],
    ['ctx.sql.begin complete', 'null', /^ctx\.sql\.begin: complete must be true or false/],
    ['ctx.log.child', 'no argument', /^ctx\.log\.child: /],
  ])('%s with %s says what it takes', (name, what, message) => {
    const said = table.find((each) => each.name === name && each.what === what);
    expect(said?.message).toMatch(message);
  });
});
