/** The files of the export that `purser ingest` is given: paths, manifests, and https URLs, which are downloaded first. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { listedIn } from '../../../costs/uploads/manifest.ts';
import { UsageError } from '../../../errors.ts';
import { download, isUrl } from '../../../net/download.ts';
import type { Invocation } from '../../terminal/command.ts';
import { inputFile } from '../../terminal/input-file.ts';

/** Paths and URLs as given, with the option that named them. */
function given(invocation: Invocation): { readonly option: string; readonly names: string[] } {
  const ways = [
    { option: 'URL', names: [...invocation.positionals] },
    { option: '--file', names: [...invocation.values('file')] },
    { option: '--focus', names: [...invocation.values('focus')] },
  ].filter(({ names }) => names.length > 0);
  const [way] = ways;
  if (way === undefined || ways.length > 1) {
    throw new UsageError(
      'name the export with either --file FILE or --focus FILE, or by its https URL',
    );
  }
  const [first = ''] = invocation.positionals;
  if (way.option === 'URL' && !isUrl(first)) {
    throw new UsageError(`to ingest a file, write: --file ${JSON.stringify(first.slice(0, 200))}`);
  }
  return way;
}

/** Runs `use` with the paths of the files; `--focus` is an alias of `--file`. What was downloaded is removed after. */
export async function withExport<T>(
  invocation: Invocation,
  use: (paths: readonly string[]) => Promise<T>,
): Promise<T> {
  const { option, names } = given(invocation);
  const folders: string[] = [];
  const paths: string[] = [];
  try {
    for (const name of names) {
      if (isUrl(name)) {
        const folder = await mkdtemp(join(tmpdir(), 'purser-ingest-'));
        folders.push(folder);
        paths.push(await download(name, folder, optionsOf(invocation)));
        continue;
      }
      const path = await inputFile(name, { option });
      for (const part of await listedIn(path)) paths.push(await inputFile(part, { option }));
    }
    return await use(paths);
  } finally {
    for (const folder of folders) await rm(folder, { recursive: true, force: true });
  }
}

const optionsOf = (invocation: Invocation) =>
  invocation.flag('private') ? { admits: () => true } : {};
