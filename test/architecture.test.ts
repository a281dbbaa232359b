/** The layout of the code base is a promise too: who may import whom, and what stands in one place only. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { describe, expect, test } from 'vitest';

const root = join(import.meta.dirname, '..');
const sourceRoot = join(root, 'src');

/** Folders that a folder may import besides itself and the root files. */
const allowed: Readonly<Record<string, readonly string[]>> = {
  crypto: [],
  db: [],
  queues: [],
  jobs: ['db', 'crypto'],
  schedules: ['db'],
  budget: ['db', 'jobs'],
  llm: ['budget', 'crypto', 'db'],
  handlers: ['jobs', 'budget', 'llm', 'crypto', 'db'],
  scheduler: ['schedules', 'jobs', 'budget', 'queues', 'db'],
  worker: ['handlers', 'llm', 'budget', 'crypto', 'jobs', 'queues', 'db'],
  web: ['schedules', 'jobs', 'budget', 'queues', 'crypto', 'db'],
};
const everything = Object.keys(allowed);

interface Source {
  readonly path: string;
  readonly folder: string;
  readonly text: string;
  readonly local: readonly string[];
  readonly packages: readonly string[];
}

const sources: readonly Source[] = readdirSync(sourceRoot, { recursive: true, encoding: 'utf8' })
  .filter((path) => path.endsWith('.ts'))
  .map((path) => {
    const text = readFileSync(join(sourceRoot, path), 'utf8');
    const specifiers = [...text.matchAll(/(?:from|import)\s+'([^']+)'|import\('([^']+)'\)/g)].map(
      (match) => match[1] ?? match[2] ?? '',
    );
    const folder = path.includes('/') ? (path.split('/')[0] ?? '') : '';
    return {
      path,
      folder,
      text,
      local: specifiers
        .filter((specifier) => specifier.startsWith('.'))
        .map((specifier) => normalize(join(dirname(path), specifier))),
      packages: specifiers.filter((specifier) => !specifier.startsWith('.')),
    };
  });

const folderOf = (path: string): string => (path.includes('/') ? (path.split('/')[0] ?? '') : '');

describe('architecture', () => {
  test('there are sources to look at, and every folder has its rule', () => {
    expect(sources.length).toBeGreaterThan(50);
    const folders = new Set(sources.map(({ folder }) => folder).filter((folder) => folder !== ''));
    expect([...folders].toSorted()).toEqual([...everything, 'cli'].toSorted());
  });

  test('a folder imports only what its rule allows', () => {
    const breaches = sources.flatMap(({ path, folder, local }) => {
      const may =
        folder === 'cli' || path === 'index.ts' ? [...everything, 'cli'] : (allowed[folder] ?? []);
      return local
        .filter((target) => {
          const other = folderOf(target);
          return other !== '' && other !== folder && !may.includes(other);
        })
        .map((target) => `${path} -> ${target}`);
    });
    expect(breaches).toEqual([]);
  });

  test('there are no import cycles', () => {
    const graph = new Map(sources.map(({ path, local }) => [path, local]));
    const done = new Set<string>();
    const cycles: string[] = [];
    const visit = (path: string, trail: readonly string[]): void => {
      if (trail.includes(path)) {
        cycles.push([...trail.slice(trail.indexOf(path)), path].join(' -> '));
        return;
      }
      if (done.has(path)) return;
      for (const target of graph.get(path) ?? []) visit(target, [...trail, path]);
      done.add(path);
    };
    for (const path of graph.keys()) visit(path, []);
    expect(cycles).toEqual([]);
  });

  test('only config.ts reads the environment, and only queues/backend.ts imports its drivers', () => {
    const readers = sources.filter(({ text }) => /process\.env\b/.test(text));
    // The guardian of the embedded Postgres is a process of its own that is started with an environment.
    expect(
      readers.map(({ path }) => path).filter((path) => !path.startsWith('db/embedded')),
    ).toEqual(['config.ts']);
    const drivers = sources.filter(({ packages }) =>
      packages.some((name) => ['pg', 'ioredis'].includes(name)),
    );
    expect(drivers.map(({ path }) => path)).toEqual(['queues/backend.ts']);
  });

  test('no file is long, no module is a drawer, and only index.ts re-exports', () => {
    const long = sources.filter(({ text }) => text.split('\n').length > 251);
    expect(long.map(({ path }) => path)).toEqual([]);
    const drawers = sources.filter(({ path }) =>
      /(^|\/)(utils?|helpers?|common|types)\.ts$/.test(path),
    );
    expect(drawers.map(({ path }) => path)).toEqual([]);
    const reExports = sources.filter(({ text }) => /^export (?:type )?[*{][^;]*from '/m.test(text));
    expect(reExports.map(({ path }) => path)).toEqual(['index.ts']);
    const openings = sources.filter(({ text }) => !/^(#!.*\n)?\/\*\*/.test(text));
    expect(openings.map(({ path }) => path)).toEqual([]);
  });

  test('SQL is parameterised: unsafe() never interpolates', () => {
    const breaches = sources.filter(({ text }) => /unsafe\([^)]*\$\{/.test(text));
    expect(breaches.map(({ path }) => path)).toEqual([]);
  });

  test('every migration has a way back and says why it exists', () => {
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
