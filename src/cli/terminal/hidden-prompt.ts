/** Reads a line from a terminal that does not show it. */
import type { ReadStream } from 'node:tty';
import { exitCodes, PurserError } from '../../errors.ts';

const enter = new Set(['\r', '\n']);
const endOfInput = '\u0004';
const interrupt = '\u0003';
const erase = new Set(['\u007f', '\b']);

/** Throws `interrupted` on Ctrl-C. */
export async function readHidden(terminal: ReadStream): Promise<string> {
  terminal.setEncoding('utf8');
  terminal.setRawMode(true);
  const typed: string[] = [];
  try {
    for await (const chunk of terminal.iterator({ destroyOnReturn: false })) {
      for (const character of String(chunk)) {
        if (enter.has(character) || character === endOfInput) return typed.join('');
        if (character === interrupt) {
          throw new PurserError('interrupted', 'interrupted', { exitCode: exitCodes.failed });
        }
        if (erase.has(character)) typed.pop();
        else typed.push(character);
      }
    }
    return typed.join('');
  } finally {
    terminal.setRawMode(false);
    terminal.pause();
  }
}
