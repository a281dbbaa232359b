/** The command line and the web role are doors to src/operations: they write nothing for an operator by themselves. */
import { dirname, join, normalize } from 'node:path';
import { expect, it } from 'vitest';
import { systemStatements } from '../../src/db/system-statements.ts';
import { readSources } from '../source-tree.ts';
import type { Source } from '../source-tree.ts';

const root = join(import.meta.dirname, '..', '..', 'src');
const sources = readSources(root);

/** Files of the doors that use what writes, and why it is no act of an operator. */
const others: Readonly<Record<string, string>> = {
  'cli/commands/enqueue.ts': 'a job is its own record',
  'cli/commands/ingest.ts': 'an upload is its own record; tenants are added by src/operations',
  'cli/demo/data-set.ts': 'uploads of the demo; its tenants and budget are by src/operations',
  'cli/commands/migrate.ts': 'the release phase; migrations are on record in the database',
  'cli/runtime/prepare-database.ts': 'the release phase',
  'cli/runtime/register-own.ts': 'the start of a process registers the schedules of its own types',
  'cli/commands/prices/rerate.ts': 'only counts; with --apply it is by src/operations',
  'web/api/endpoints/enqueue.ts': 'a job is its own record',
};

interface Part {
  readonly file: string;
  readonly name: string;
  readonly text: string;
}

/** Functions with what stands behind them, as the registry of statements splits files. */
const partsOf = ({ path, text }: Source): Part[] =>
  text
    .replaceAll(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, '')
    .split(/\n(?=(?:export )?(?:async )?function\*? )/)
    .map((part) => ({
      file: path,
      name: /^(?:export )?(?:async )?function\*? (\w+)/.exec(part)?.[1] ?? '',
      text: part,
    }));

/** Local name -> `file name` of what the file imports as a value. */
function importsOf({ path, text }: Source): Map<string, string> {
  const found = new Map<string, string>();
  for (const [, names = '', from = ''] of text.matchAll(
    /import (?!type)\{([^}]*)\} from '(\.[^']+)'/g,
  )) {
    for (const one of names.split(',').map((name) => name.trim())) {
      const [name = '', local = name] = one.split(' as ');
      if (name !== '') found.set(local, `${normalize(join(dirname(path), from))} ${name}`);
    }
  }
  return found;
}

/** Files of src/cli and src/web that reach a statement of operators other than through src/operations. */
function writingDoors(tree: readonly Source[]): string[] {
  const writers = new Set(
    Object.entries(systemStatements)
      .filter(([name, rule]) => rule === 'operator' && !name.startsWith('operations/'))
      .map(([name]) => name),
  );
  const parts = tree
    .filter(({ folder }) => folder !== 'operations')
    .flatMap((source) => {
      const imports = importsOf(source);
      const own = partsOf(source);
      const known = new Map([
        ...imports,
        ...own.map(({ name }) => [name, `${source.path} ${name}`] as const),
      ]);
      return own.map((part) => {
        const words = wordsOf(part);
        return {
          part,
          uses: [...known].flatMap(([name, target]) => (words.has(name) ? [target] : [])),
        };
      });
    });
  const doors = new Set<string>();
  for (let size = -1; size !== writers.size + doors.size;) {
    size = writers.size + doors.size;
    for (const { part, uses } of parts) {
      if (!uses.some((target) => writers.has(target))) continue;
      // What uses a door is none by that.
      if (/^(cli|web)\//.test(part.file)) doors.add(part.file);
      else writers.add(`${part.file} ${part.name}`);
    }
  }
  return [...doors].toSorted();
}

/** The names that it uses: not in strings, not of properties, not its own. */
function wordsOf({ name, text }: Part): ReadonlySet<string> {
  const code = text
    .replaceAll(/^import [\s\S]*?;$/gm, '')
    .replace(new RegExp(`function\\*? ${name || '\\0'}\\b`), '')
    .replaceAll(/'[^'\n]*'/g, "''");
  return new Set([...code.matchAll(/(?<![.\w])[a-zA-Z]\w*(?!['\w])/g)].map(([word]) => word));
}

it('no file of them writes for an operator but through src/operations, or it says why', () => {
  expect(writingDoors(sources)).toEqual(Object.keys(others).toSorted());
  expect(Object.values(others).filter((why) => why.length < 15)).toEqual([]);
});

it('no statement that writes for an operator stands in them', () => {
  const found = Object.entries(systemStatements).filter(
    ([name, rule]) => rule === 'operator' && /^(cli|web)\//.test(name),
  );
  expect(found).toEqual([]);
});

it.each([
  [
    'web/planted.ts',
    "import { replayDeadLetter } from '../jobs/dead-letters.ts';",
    'replayDeadLetter(sql, id, by)',
  ],
  [
    'cli/commands/planted.ts',
    "import { setPrice } from '../../budget/prices/set.ts';",
    'setPrice(sql, request)',
  ],
  [
    'cli/commands/planted.ts',
    "import { pauseWork as stop } from '../../jobs/pauses.ts';",
    'stop(sql, pause)',
  ],
])('a door that goes around it is found: %s %s', (path, imports, call) => {
  const text = `/** Planted. */\n${imports}\nexport async function planted() {\n  await ${call};\n}\n`;
  expect(writingDoors([...sources, ...readSources(root, [{ path, text }])])).toContain(path);
});

it('every act is recorded by src/operations alone', () => {
  const recording = sources.filter(({ text }) => /\b(recordAct|performAct)\(/.test(text));
  const outside = recording.filter(({ folder }) => folder !== 'operations');
  expect(outside.map(({ path }) => path)).toEqual([]);
});
