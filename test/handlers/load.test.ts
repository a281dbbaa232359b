/** The forms of a module that exports handlers, as Node itself imports them: the test runner would change CommonJS. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';

const list = "[{ type: 'own', timeoutMs: 1, maxAttempts: 1, async run() {} }]";
const accepted: readonly (readonly [string, string])[] = [
  ['a.mjs', `export const handlers = ${list};`],
  ['b.mjs', `export default { handlers: ${list} };`],
  ['c.cjs', `module.exports = { handlers: ${list} };`],
  ['d.cjs', `exports.handlers = ${list};`],
  ['e.cjs', `const made = {}; made.handlers = ${list}; module.exports = made;`],
  ['f.cjs', `Object.assign(exports, { handlers: ${list} });`],
  ['g.js', `module.exports = { handlers: ${list} };`],
  ['h.mjs', `export const handlers = ${list}; export default { handlers: [] };`],
];
const refused: readonly (readonly [string, string])[] = [
  ['i.cjs', `module.exports = ${list};`],
  ['j.mjs', `export default ${list};`],
  ['k.cjs', 'module.exports = { handlers: [] };'],
  ['l.cjs', 'module.exports = null;'],
];

const own = `export const handlers = ${list};`;
const fault = (name: string, text: string): string => `PURSER_HANDLERS=${name}: ${text}`;
const hooks: readonly (readonly [string, string, unknown])[] = [
  [
    'm.mjs',
    `${own} export const lookUpUsage = async () => undefined;`,
    ['own', 'llm_usage_look_up'],
  ],
  [
    'n.mjs',
    `${own} export const lookUpUsage = 1;`,
    fault('n.mjs', 'lookUpUsage must be a function'),
  ],
  [
    'o.mjs',
    `${own} export const lookupUsage = () => {};`,
    fault('o.mjs', 'lookupUsage: the hook is called lookUpUsage'),
  ],
  [
    'p.mjs',
    own.replace("'own'", "'llm_usage_look_up'"),
    fault(
      'p.mjs',
      'handlers[0]: the type llm_usage_look_up is that of the hook lookUpUsage; give yours another name',
    ),
  ],
];

const load = pathToFileURL(join(import.meta.dirname, '../../dist/handlers/load.js')).href;
const script = `
  const { loadHandlers } = await import('${load}');
  const said = {};
  for (const path of process.argv.slice(1))
    said[path] = await loadHandlers(path).then((all) => all.map(({ type }) => type), ({ message }) => message);
  console.log(JSON.stringify(said));`;

let folder: string;
let said: Readonly<Record<string, unknown>>;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'purser-load-'));
  const all = [...accepted, ...refused, ...hooks];
  for (const [name, text] of all) await writeFile(join(folder, name), text);
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--input-type=module', '-e', script, '--', ...all.map(([name]) => name)],
    { cwd: folder },
  );
  said = JSON.parse(stdout) as typeof said;
});
afterAll(() => rm(folder, { recursive: true }));

it.each(accepted)('%s: %s', (name) => {
  expect(said[name]).toEqual(['own']);
});

it.each(hooks)('%s: %s', (name, _, expected) => {
  expect(said[name]).toEqual(expected);
});

it.each(refused)('%s: %s is refused', (name) => {
  expect(said[name]).toBe(
    `PURSER_HANDLERS=${name}: the module must export \`handlers\`, an array of at least one handler: ` +
      'export const handlers = [...], or in CommonJS exports.handlers = [...]',
  );
});
