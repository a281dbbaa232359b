/** Runs a command in this process, on a real database: a new process takes a second longer. */
import { Readable } from 'node:stream';
import { commandsOf } from '../../src/cli/commands.ts';
import { matchCommand, parseInvocation } from '../../src/cli/terminal/parse.ts';
import { readSettings } from '../../src/cli/runtime/settings.ts';
import { messageOf, PurserError } from '../../src/errors.ts';

export interface Outcome {
  readonly code: number;
  readonly out: string;
  /** Notes, and the message of a thrown error. */
  readonly err: string;
}

export type Invoke = (...args: string[]) => Promise<Outcome>;

/** `input` is stdin. The exit code is that of the thrown error, as in src/cli/terminal/run.ts. */
export function invokeWith(env: NodeJS.ProcessEnv, input: Iterable<Uint8Array> = []): Invoke {
  return async (...args) => {
    const matched = matchCommand(await commandsOf(args[0] ?? ''), args);
    if (matched === undefined) throw new Error(`no command: ${args.join(' ')}`);
    const out: string[] = [];
    const err: string[] = [];
    try {
      const code = await matched.command.run({
        ...parseInvocation(matched.command, matched.rest),
        config: () => readSettings({ LOG_LEVEL: 'silent', ...env }),
        input: () => Readable.from(input),
        print: (line) => void out.push(line),
        note: (line) => void err.push(line),
      });
      return { code, out: out.join('\n'), err: err.join('\n') };
    } catch (error) {
      const code = error instanceof PurserError ? error.exitCode : 1;
      return { code, out: out.join('\n'), err: [...err, messageOf(error)].join('\n') };
    }
  };
}
