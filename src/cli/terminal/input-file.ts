/** A file that the operator named is looked at before anything is started for it. */
import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { codeOf, PurserError } from '../../errors.ts';

export interface InputFileOptions {
  /** How the path was given. Default `--focus`. */
  readonly option?: string;
  /** It is read once, so that a pipe will do. */
  readonly once?: boolean;
}

/** The absolute path. Throws `file_unreadable` when there is no file, or it is a folder or a pipe. */
export async function inputFile(
  path: string,
  { option = '--focus', once = false }: InputFileOptions = {},
): Promise<string> {
  const full = resolve(path);
  const refuse = (fault: string): never => {
    throw new PurserError('file_unreadable', `${option} ${full}: ${fault}`);
  };
  const found = await stat(full).catch((error: unknown) =>
    refuse(`cannot be opened (${codeOf(error)})`),
  );
  if (found.isDirectory()) refuse('is a folder; name one file');
  if (!once && (found.isFIFO() || found.isSocket())) {
    refuse('is a pipe, and an export is read more than once; write it to a file first');
  }
  return full;
}
