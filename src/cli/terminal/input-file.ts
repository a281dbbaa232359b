/** Checks a file that the operator named, before any work starts. */
import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { codeOf, PurserError } from '../../errors.ts';

export interface InputFileOptions {
  /** The option that named the path, for messages. Default `--focus`. */
  readonly option?: string;
  /** The file is read only once, so a pipe is accepted. */
  readonly once?: boolean;
}

/** Returns the absolute path. Throws `file_unreadable` for a missing file, a folder or a pipe. */
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
  if (found.isDirectory()) refuse('is a folder; name a file');
  if (!once && (found.isFIFO() || found.isSocket())) {
    refuse('is a pipe, but an export is read more than once; write it to a file first');
  }
  return full;
}
