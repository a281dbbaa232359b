/** Reads a secret from stdin or from a file that an option names, never from the command line. */
import { createReadStream } from 'node:fs';
import { PurserError } from '../../errors.ts';
import type { Invocation } from './command.ts';
import { readHidden } from './hidden-prompt.ts';
import { inputFile } from './input-file.ts';

export interface SecretInput {
  /** For messages, with its verb: `the credentials` are, `the key` is. */
  readonly what: string;
  readonly plural: boolean;
  /** The option that may name a file, without its dashes. */
  readonly option: string;
  readonly maxBytes: number;
  /** Code of the errors about what was read. */
  readonly code: string;
  /** One line, which a person may type: at a terminal it is asked for without being shown. */
  readonly hidden?: boolean;
}

/**
 * As text, without the line end that an editor or `echo` adds. Throws `file_unreadable`, and `code` where it is empty, too
 * large or not UTF-8.
 */
export async function readSecret(
  invocation: Invocation,
  { what, plural, option, maxBytes, code, hidden = false }: SecretInput,
): Promise<string> {
  const path = invocation.value(option);
  const full =
    path === undefined ? undefined : await inputFile(path, { option: `--${option}`, once: true });
  const asked = hidden && full === undefined && process.stdin.isTTY;
  if (asked) invocation.note(`${what} (not shown):`);
  else if (full === undefined && invocation.interactive) {
    invocation.note(`reading ${what} from stdin; end with Ctrl-D`);
  }
  const verb = plural ? 'are' : 'is';
  const refuse = (fault: string): PurserError =>
    new PurserError(
      code,
      `${what} (${full === undefined ? 'from stdin' : `file ${full}`}) ${verb} ${fault}`,
    );
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  const input = asked ? hiddenLine() : invocation.input();
  // Stops reading as soon as the input is too large.
  for await (const chunk of full === undefined ? input : createReadStream(full)) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes > maxBytes) throw refuse(`larger than ${maxBytes} bytes; is this the right file?`);
  }
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks));
  } catch {
    throw refuse('not UTF-8 text');
  }
  const trimmed = text.replace(/(?:\r?\n)+$/, '');
  if (trimmed.trim() === '') {
    throw refuse(`empty; pipe ${plural ? 'them' : 'it'} in, or use --${option} FILE`);
  }
  return trimmed;
}

async function* hiddenLine(): AsyncIterable<Uint8Array> {
  yield Buffer.from(await readHidden(process.stdin));
}
