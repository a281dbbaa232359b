/** The layout of the code base is a promise too: who may import whom, and what stands in one place only. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  allowedImports,
  crowdedFolders,
  forbiddenImports,
  importCycles,
  packageImporters,
  readSources,
  sharedPrefixes,
} from './source-tree.ts';
import type { Source } from './source-tree.ts';

const root = join(import.meta.dirname, '..');
const sources = readSources(join(root, 'src'));

/** The tree with one more file: each rule must see a breach of it. */
const withFile = (path: string, text: string): readonly Source[] => [
  ...sources,
  ...readSources(root, [{ path, text: `/** Planted. */\n${text}` }]),
];

/** The paths of a folder's code, as git would list them. */
const codePaths = (folder: string): readonly string[] =>
  readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((path) => /\.(tsx?|mjs)$/.test(path))
    .map((path) => `${folder}/${path}`);

describe('imports', () => {
  it('there are sources to look at, and every folder has its rule', () => {
    expect(sources.length).toBeGreaterThan(150);
    const folders = new Set(sources.map(({ folder }) => folder).filter((folder) => folder !== ''));
    expect([...folders].toSorted()).toEqual([...Object.keys(allowedImports), 'cli'].toSorted());
  });

  it('a folder imports only what its rule allows', () => {
    expect(forbiddenImports(sources)).toEqual([]);
  });

  it.each([
    ['jobs/planted.ts', "import '../queues/backend.ts';", 'jobs/planted.ts -> queues/backend.ts'],
    ['queues/planted.ts', "import '../jobs/states.ts';", 'queues/planted.ts -> jobs/states.ts'],
    [
      'llm/planted.ts',
      "import '../costs/sample/data.ts';",
      'llm/planted.ts -> costs/sample/data.ts',
    ],
    [
      'worker/executors/planted.ts',
      "import '../../costs/uploads/rows.ts';",
      'worker/executors/planted.ts -> costs/uploads/rows.ts',
    ],
    [
      'costs/analysis/planted.ts',
      "import '../../handlers/finops-analysis.ts';",
      'costs/analysis/planted.ts -> handlers/finops-analysis.ts',
    ],
    [
      'web/planted.ts',
      "await import('../worker/worker.ts');",
      'web/planted.ts -> worker/worker.ts',
    ],
    ['planted.ts', "import './db/connect.ts';", 'planted.ts -> db/connect.ts'],
    ['db/planted.ts', "import '../cli/version.ts';", 'db/planted.ts -> cli/version.ts'],
  ])('a breach in %s is found', (path, text, breach) => {
    expect(forbiddenImports(withFile(path, text))).toEqual([breach]);
  });

  it('there are no import cycles, and a planted one is found', () => {
    expect(importCycles(sources)).toEqual([]);
    const [first] = sources;
    const target = first?.path ?? '';
    const planted = sources.map((source) =>
      source === first ? { ...source, local: [...source.local, 'jobs/planted.ts'] } : source,
    );
    const other = readSources(root, [
      { path: 'jobs/planted.ts', text: `/** Planted. */\nimport '../${target}';` },
    ]);
    expect(importCycles([...planted, ...other])).not.toEqual([]);
  });

  it('only queues/backend.ts imports its drivers', () => {
    expect(packageImporters(sources, ['pg', 'ioredis'])).toEqual(['queues/backend.ts']);
    const planted = withFile('jobs/planted.ts', "import pg from 'pg';");
    expect(packageImporters(planted, ['pg', 'ioredis'])).toContain('jobs/planted.ts');
  });

  it('docs/architecture.md has the table of imports', () => {
    const page = readFileSync(join(root, 'docs', 'architecture.md'), 'utf8');
    const rows = [...page.matchAll(/^\| `(\w+)` \| (.*) \|$/gm)].map(
      ([, folder = '', cell = '']) =>
        [folder, [...cell.matchAll(/`([\w/]+)`/g)].map(([, name = '']) => name)] as const,
    );
    expect(Object.fromEntries(rows)).toEqual(
      Object.fromEntries(
        Object.entries(allowedImports).map(([folder, names]) => [folder, [...names]]),
      ),
    );
  });
});

describe('folders', () => {
  const trees = ['src', 'test', 'bench', 'scripts'].map(codePaths);

  it('hold no more than 20 files themselves', () => {
    expect(trees.flatMap(crowdedFolders)).toEqual([]);
    const many = Array.from({ length: 21 }, (_, n) => `src/jobs/file${n}.ts`);
    expect(crowdedFolders(many)).toEqual(['src/jobs: 21 files']);
  });

  it('have a folder for what three files share as a prefix', () => {
    expect(trees.flatMap(sharedPrefixes)).toEqual([]);
    const three = ['src/cli/dlq.ts', 'src/cli/dlq-list.ts', 'src/cli/dlq-replay.test.ts'];
    expect(sharedPrefixes(three)).toEqual(['src/cli: dlq']);
    expect(sharedPrefixes(three.slice(1))).toEqual([]);
  });

  it('of test/ are those of src/, and some for whole processes', () => {
    const forProcesses = 'compat e2e faults platform production-integration support tenancy'.split(
      ' ',
    );
    const folders = new Set(
      codePaths('test')
        .filter((path) => path.split('/').length > 2)
        .map((path) => path.split('/')[1] ?? ''),
    );
    const mirrored = new Set(sources.map(({ folder }) => folder));
    expect([...folders].filter((name) => !mirrored.has(name)).toSorted()).toEqual(forProcesses);
  });
});

describe('files', () => {
  it('only config.ts reads the environment', () => {
    const readers = sources.filter(({ text }) => /process\.env\b/.test(text));
    // The guardian of the embedded Postgres is a process of its own that is started with an environment.
    expect(
      readers.map(({ path }) => path).filter((path) => !path.startsWith('db/embedded/')),
    ).toEqual(['config.ts']);
  });

  it('are short, open with what they promise, and are no drawers; only index.ts re-exports', () => {
    const long = sources.filter(({ text }) => text.split('\n').length > 251);
    expect(long.map(({ path }) => path)).toEqual([]);
    const drawers = sources.filter(({ path }) =>
      /(^|\/)(utils?|helpers?|common|shared|types)\.tsx?$/.test(path),
    );
    expect(drawers.map(({ path }) => path)).toEqual([]);
    const reExports = sources.filter(({ text }) => /^export (?:type )?[*{][^;]*from '/m.test(text));
    expect(reExports.map(({ path }) => path)).toEqual(['index.ts']);
    const openings = sources.filter(({ text }) => !/^(#!.*\n)?\/\*\*/.test(text));
    expect(openings.map(({ path }) => path)).toEqual([]);
  });

  it('of SQL are parameterised: unsafe() never interpolates', () => {
    const breaches = sources.filter(({ text }) => /unsafe\([^)]*\$\{/.test(text));
    expect(breaches.map(({ path }) => path)).toEqual([]);
  });

  it('of migrations have a way back and say why they exist', () => {
    const files = readdirSync(join(root, 'sql'));
    const ups = files.filter((file) => !file.endsWith('.down.sql'));
    expect(ups.length).toBeGreaterThan(5);
    expect(ups.filter((file) => !files.includes(file.replace(/\.sql$/, '.down.sql')))).toEqual([]);
    const mute = ups.filter(
      (file) => !readFileSync(join(root, 'sql', file), 'utf8').startsWith('-- '),
    );
    expect(mute).toEqual([]);
  });
});
