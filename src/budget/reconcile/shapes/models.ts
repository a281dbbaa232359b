/** Names of models as providers write them in their bills, which are not those of their APIs. */

const release = /[-@ ](20\d{2}-?\d{2}-?\d{2}|\d{2}-\d{2}|\d{3,4}|latest|preview)$/;

/** What a model's names have in common: `gpt-4o-mini-2024-07-18` and `gpt-4o-mini`, `Claude Haiku 4.5` and its id. */
export function modelKey(name: string): string {
  let base = name.toLowerCase().replace(/^.*\//, '');
  while (release.test(base)) base = base.replace(release, '');
  return base.replaceAll(/[^a-z0-9]/g, '');
}

/** The units that a bill lists apart. `all`: the bill does not tell. */
export type Cell =
  | 'input'
  | 'cache_read'
  | 'cache_write'
  | 'cache_write_1h'
  | 'output'
  | 'fee'
  | 'all';

/** The cell of a class of `llm_usage_items`; undefined for an amount that is no usage. */
export function cellOfClass(name: string): Exclude<Cell, 'all'> | undefined {
  if (name.startsWith('cache_read')) return 'cache_read';
  if (name === 'cache_write' || name === 'cache_write_1h') return name;
  if (name === 'input' || name.startsWith('input_')) return 'input';
  if (/^(output(_.*)?|reasoning|citation)$/.test(name)) return 'output';
  return name === 'request' || name === 'web_search' ? 'fee' : undefined;
}
