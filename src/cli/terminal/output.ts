/**
 * Output of the CLI: whole lines with control characters escaped. A closed pipe is not an error.
 */
import type { Writable } from 'node:stream';
import { exitCodes } from '../../errors.ts';

/** Control characters except tab and line feed, and Unicode marks that change the direction of text. */
// oxlint-disable-next-line no-control-regex
const unsafe = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g;

/** Escapes as JSON does: JSON keeps its meaning, and a terminal shows the escape. */
export function terminalSafe(text: string): string {
  return text.replace(
    unsafe,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** Columns of the terminal that stdout writes to; undefined where it writes to a file or a pipe. */
export function terminalWidth(): number | undefined {
  return process.stdout.isTTY && process.stdout.columns > 0 ? process.stdout.columns : undefined;
}

export function writeLine(stream: Writable, line: string): void {
  stream.write(`${terminalSafe(line)}\n`);
}

/**
 * `purser jobs list | head` closes the pipe early; that is ignored. Any other write error, such as a full disk,
 * ends the command with exit code 1.
 */
export function ignoreClosedPipes(): void {
  process.stderr.on('error', () => {});
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') return;
    writeLine(process.stderr, `purser: cannot write the output: ${error.message}`);
    process.exit(exitCodes.failed);
  });
}

/** A role goes on when its output cannot be written: lines are lost, jobs are not. */
export function ignoreOutputErrors(): void {
  process.stdout.removeAllListeners('error').on('error', () => {});
}
