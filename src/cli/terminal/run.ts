/** Finds and runs the command; turns an error into a readable line and an exit code. */
import { codeOf, exitCodes, messageOf, PurserError } from '../../errors.ts';
import { redactUrls } from '../../log.ts';
import { asUnreachable } from '../runtime/unreachable.ts';
import { allCommands, commandsOf } from '../commands.ts';
import { commandHelp, overviewHelp } from './help.ts';
import { ignoreClosedPipes, writeLine } from './output.ts';
import { nearCommand } from './near-command.ts';
import { didYouMean } from './near-name.ts';
import { matchCommand, parseInvocation } from './parse.ts';
import { version } from '../version.ts';

const insufficientPrivilege = '42501';

const printError = (line: string): void => writeLine(process.stderr, line);

function report(thrown: unknown): number {
  const error = asUnreachable(undefined, 'DATABASE_URL or REDIS_URL', thrown);
  const code = codeOf(error);
  const message = messageOf(error) || code;
  // Configuration faults contain variable names and examples, never values.
  const text = code === 'invalid_configuration' ? message : redactUrls(message);
  if (error instanceof PurserError) {
    printError(`purser: ${text}`);
    return error.exitCode;
  }
  if (code === insufficientPrivilege) {
    printError(`purser: the login of DATABASE_URL lacks a privilege: ${text} (${code})`);
    printError(
      '  Use the login that owns the database (or run: alter database NAME owner to LOGIN).',
    );
    return exitCodes.configuration;
  }
  printError(`purser: ${text} (${code})`);
  if (process.execArgv.includes('--enable-source-maps') && error instanceof Error) {
    printError(redactUrls(error.stack ?? ''));
  }
  return exitCodes.failed;
}

async function run(argv: readonly string[]): Promise<number> {
  const words = argv.filter((word) => word !== '--help' && word !== '-h');
  const asksHelp = words.length < argv.length || argv[0] === 'help' || argv.length === 0;
  if (argv[0] === '--version' || argv[0] === '-v') {
    process.stdout.write(`purser ${version}\n`);
    return exitCodes.ok;
  }
  const wanted = argv[0] === 'help' ? words.slice(1) : words;
  const prefix = wanted[0] ?? '';
  const group = await commandsOf(prefix);
  const known = group.length > 0;
  const commands = known ? group : await allCommands();
  const matched = matchCommand(commands, wanted);
  if (matched === undefined || asksHelp) {
    const text =
      matched === undefined
        ? overviewHelp(commands, known ? prefix : '')
        : commandHelp(matched.command);
    if (asksHelp && (matched !== undefined || known || prefix === '')) {
      process.stdout.write(`${text}\n`);
      return exitCodes.ok;
    }
    const unknown =
      known && wanted.length === 1
        ? `"${prefix}" is not a command by itself`
        : `there is no command "${wanted.join(' ')}"`;
    const near = nearCommand(known ? [...commands, ...(await allCommands())] : commands, wanted);
    printError(
      near === undefined || (known && wanted.length === 1)
        ? `purser: ${unknown}${known ? '; choose one of these' : ''}\n\n${text}`
        : `purser: ${unknown}${didYouMean(`purser ${near}`)}\n  All commands: purser --help`,
    );
    return exitCodes.usage;
  }
  return matched.command.run(parseInvocation(matched.command, matched.rest));
}

/** A handle left open must not keep the process running; closing gets this long. */
const exitAfterMs = 2_000;

/** Runs the command that this process was started with, and sets the exit code. */
export async function runMain(): Promise<void> {
  ignoreClosedPipes();
  process.exitCode = await run(process.argv.slice(2)).catch(report);
  setTimeout(() => process.exit(), exitAfterMs).unref();
}
