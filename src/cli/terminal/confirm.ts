/** Asks the person at the terminal; where there is none, the caller says which option answers instead. */
import { createInterface } from 'node:readline/promises';

/** Whether stdin and stderr are a terminal, where a question can be asked and answered. */
export const canAsk = (): boolean => process.stdin.isTTY && process.stderr.isTTY;

/** Only `y` and `yes` agree; the end of the input does not. */
export async function agrees(question: string): Promise<boolean> {
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  const ended = new Promise<string>((resolve) => terminal.once('close', () => resolve('')));
  try {
    const answer = await Promise.race([terminal.question(`${question} [y/N] `), ended]);
    return /^y(es)?$/i.test(answer.trim());
  } finally {
    terminal.close();
  }
}
