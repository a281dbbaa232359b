/** A file that the operator named is looked at before anything is started for it. */
import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { codeOf, PurserError } from '../errors.ts';

/** The absolute path; `option` is how it was given. Throws `file_unreadable` when there is no file or it is a folder. */
export async function inputFile(path: string, option = '--focus'): Promise<string> {
  const full = resolve(path);
  const found = await stat(full).catch((error: unknown) => codeOf(error));
  if (typeof found !== 'string' && !found.isDirectory()) return full;
  const fault =
    typeof found !== 'string' ? 'is a folder; name one file' : `cannot be opened (${found})`;
  throw new PurserError('file_unreadable', `${option} ${full}: ${fault}`);
}
