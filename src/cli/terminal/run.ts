/** Finds the command, runs it, and turns what it throws into one readable line and an exit code. */
import { codeOf, exitCodes, messageOf, PurserError } from '../../errors.ts';
import { redactUrls } from '../../log.ts';
import { commands } from '../commands.ts';
import { commandHelp, overviewHelp } from './help.ts';
import { ignoreClosedPipes, writeLine } from './output.ts';
import { matchCommand, parseInvocation } from './parse.ts';
import { version } from '../version.ts';

const away = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ENOTFOUND',
  'ETIMEDOUT',
  'EAI_AGAIN',
  'CONNECT_TIMEOUT',
  'CONNECTION_CLOSED',
  'EHOSTUNREACH',
  'ENETUNREACH',
  '53300',
  '57P01',
  '57P03',
  '28P01',
  '28000',
  '3D000',
]);

const insufficientPrivilege = '42501';
const tooManyConnections = '53300';

const say = (line: string): void => writeLine(process.stderr, line);

function report(error: unknown): number {
  const code = codeOf(error);
  const said = messageOf(error) || code;
  // Faults of the configuration name variables and examples, never values.
  const text = code === 'invalid_configuration' ? said : redactUrls(said);
  if (error instanceof PurserError) {
    say(`purser: ${text}`);
    return error.exitCode;
  }
  if (away.has(code)) {
    say(`purser: cannot reach a service it needs (${code}): ${text}`);
    say(
      code === tooManyConnections
        ? '  Fewer processes, a larger plan, or a pooler: docs/deployment.md has what each process opens.'
        : '  Check DATABASE_URL and REDIS_URL: address, login, and that it is running.',
    );
    return exitCodes.unavailable;
  }
  if (code === insufficientPrivilege) {
    say(`purser: the login of DATABASE_URL may not do this: ${text} (${code})`);
    say('  Use the login that owns the database (alter database NAME owner to LOGIN makes it so).');
    return exitCodes.configuration;
  }
  say(`purser: ${text} (${code})`);
  if (process.execArgv.includes('--enable-source-maps') && error instanceof Error) {
    say(redactUrls(error.stack ?? ''));
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
  const matched = matchCommand(commands, wanted);
  if (matched === undefined || asksHelp) {
    const prefix = wanted[0] ?? '';
    const known = commands.some(({ path }) => path.split(' ')[0] === prefix);
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
        ? `"${prefix}" alone is no command`
        : `there is no command "${wanted.join(' ')}"`;
    writeLine(
      process.stderr,
      `purser: ${unknown}${known ? '; choose one of these' : ''}\n\n${text}`,
    );
    return exitCodes.usage;
  }
  return matched.command.run(parseInvocation(matched.command, matched.rest));
}

/** A handle that something forgot must not keep a process that is done; closing gets this long. */
const lingerMs = 2_000;

/** Runs the command of this process and sets the exit code. */
export async function runMain(): Promise<void> {
  ignoreClosedPipes();
  process.exitCode = await run(process.argv.slice(2)).catch(report);
  setTimeout(() => process.exit(), lingerMs).unref();
}
