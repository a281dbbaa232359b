/** The rules of the layout as functions over paths and texts, so that a test can plant a breach of each. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';

/**
 * What a folder of src/ may import besides itself and the root files: folders, or single files without `.ts`. Root
 * files import no folder; `cli` and `index.ts` import everything. docs/architecture.md shows this table.
 */
export const allowedImports: Readonly<Record<string, readonly string[]>> = {
  process: [],
  net: [],
  crypto: [],
  db: ['process'],
  queues: ['process'],
  jobs: ['db', 'crypto'],
  schedules: ['db'],
  budget: ['db', 'jobs'],
  llm: ['budget', 'crypto', 'db'],
  costs: ['handlers/define', 'handlers/outcome', 'llm/llm', 'jobs', 'db'],
  handlers: ['costs', 'jobs', 'schedules', 'budget', 'llm', 'crypto', 'db'],
  scheduler: ['operations', 'schedules', 'jobs', 'budget', 'queues', 'db', 'process', 'net'],
  worker: ['handlers', 'llm', 'budget', 'crypto', 'jobs', 'schedules', 'queues', 'db', 'process'],
  operations: ['jobs', 'schedules', 'budget', 'llm', 'costs', 'crypto', 'db'],
  web: ['operations', 'schedules', 'jobs', 'budget', 'queues', 'crypto', 'db', 'process'],
};

export interface Source {
  /** Relative to src/. */
  readonly path: string;
  /** '' for a root file. */
  readonly folder: string;
  readonly text: string;
  /** Imported files, relative to src/. */
  readonly local: readonly string[];
  readonly packages: readonly string[];
}

const folderOf = (path: string): string => (path.includes('/') ? (path.split('/')[0] ?? '') : '');

/** Reads a tree, or only `given` files that stand in none. */
export function readSources(
  sourceRoot: string,
  given?: readonly { readonly path: string; readonly text: string }[],
): readonly Source[] {
  const files =
    given ??
    readdirSync(sourceRoot, { recursive: true, encoding: 'utf8' })
      .filter((path) => /\.tsx?$/.test(path))
      .map((path) => ({ path, text: readFileSync(join(sourceRoot, path), 'utf8') }));
  return files.map(({ path, text }) => {
    const specifiers = [...text.matchAll(/(?:from|import)\s+'([^']+)'|import\('([^']+)'\)/g)].map(
      (match) => match[1] ?? match[2] ?? '',
    );
    return {
      path,
      folder: folderOf(path),
      text,
      local: specifiers
        .filter((specifier) => specifier.startsWith('.'))
        .map((specifier) => normalize(join(dirname(path), specifier))),
      packages: specifiers.filter((specifier) => !specifier.startsWith('.')),
    };
  });
}

/** `importer -> imported` for each import that allowedImports does not have. */
export function forbiddenImports(sources: readonly Source[]): string[] {
  return sources
    .filter(({ path, folder }) => folder !== 'cli' && path !== 'index.ts')
    .flatMap(({ path, folder, local }) =>
      local
        .filter((target) => {
          const other = folderOf(target);
          if (other === '' || other === folder) return false;
          const allowed = allowedImports[folder] ?? [];
          return !allowed.includes(other) && !allowed.includes(target.replace(/\.tsx?$/, ''));
        })
        .map((target) => `${path} -> ${target}`),
    );
}

export function importCycles(sources: readonly Source[]): string[] {
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
  return cycles;
}

/** Packages that are loaded with a file, before anything in it runs: through imports of values that are not `import()`. */
export function packagesLoadedWith(sources: readonly Source[], path: string): ReadonlySet<string> {
  const byPath = new Map(sources.map((source) => [source.path, source]));
  const packages = new Set<string>();
  const seen = new Set<string>();
  const visit = (from: string): void => {
    if (seen.has(from)) return;
    seen.add(from);
    const text = byPath.get(from)?.text ?? '';
    for (const [, name = ''] of text.matchAll(
      /^import\s+(?!type\b)(?:[^';]*\sfrom\s+)?'([^']+)'/gm,
    )) {
      if (name.startsWith('.')) visit(normalize(join(dirname(from), name)));
      else if (!name.startsWith('node:')) packages.add(name);
    }
  };
  visit(path);
  return packages;
}

export function packageImporters(
  sources: readonly Source[],
  packages: readonly string[],
): readonly string[] {
  return sources
    .filter((source) => source.packages.some((name) => packages.includes(name)))
    .map(({ path }) => path);
}

function byFolder(paths: readonly string[]): Map<string, string[]> {
  const folders = new Map<string, string[]>();
  for (const path of paths) {
    const folder = dirname(path);
    folders.set(folder, [...(folders.get(folder) ?? []), path.slice(folder.length + 1)]);
  }
  return folders;
}

/** Folders that hold more than 20 files themselves. */
export function crowdedFolders(paths: readonly string[]): string[] {
  return [...byFolder(paths)]
    .filter(([, names]) => names.length > 20)
    .map(([folder, names]) => `${folder}: ${names.length} files`);
}

/** Prefixes (the name up to its first `-` or `.`) that three or more files of a folder share. */
export function sharedPrefixes(paths: readonly string[]): string[] {
  return [...byFolder(paths)].flatMap(([folder, names]) => {
    const counts = new Map<string, number>();
    for (const name of names) {
      const prefix = name.split(/[-.]/)[0] ?? '';
      counts.set(prefix, (counts.get(prefix) ?? 0) + 1);
    }
    return [...counts].filter(([, count]) => count >= 3).map(([prefix]) => `${folder}: ${prefix}`);
  });
}
