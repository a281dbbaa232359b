/**
 * What the CLI writes: whole lines in which data cannot move the cursor, and no complaint when the reader of
 * a pipe has gone.
 */
import type { Writable } from 'node:stream';
import { exitCodes } from '../../errors.ts';

/** Control characters but tab and line feed, and the marks that reverse the direction of a text. */
// oxlint-disable-next-line no-control-regex
const unsafe = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g;

/** Escapes as JSON does, so that JSON still means the same and a terminal shows what was there. */
export function terminalSafe(text: string): string {
  return text.replace(
    unsafe,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

export function writeLine(stream: Writable, line: string): void {
  stream.write(`${terminalSafe(line)}\n`);
}

/**
 * `purser jobs list | head` closes the pipe early: that is no failure of ours. What cannot be written, to a disk
 * that is full for instance, ends the command.
 */
export function ignoreClosedPipes(): void {
  process.stderr.on('error', () => {});
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') return;
    writeLine(process.stderr, `purser: the output cannot be written: ${error.message}`);
    process.exit(exitCodes.failed);
  });
}
