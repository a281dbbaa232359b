/**
 * Parses argv into an invocation of one command. Usage errors say what is accepted.
 */
import { parseArgs } from 'node:util';
import { nearVariables, nearVariableText } from '../runtime/near-variables.ts';
import { readSettings } from '../runtime/settings.ts';
import { assertDriverPatched } from '../../db/driver.ts';
import { messageOf, UsageError } from '../../errors.ts';
import type { Command, Invocation } from './command.ts';
import { didYouMean, nearName } from './near-name.ts';
import { writeLine } from './output.ts';

let hasNoted = false;

/** Once in a process, also where the settings have faults: a mistyped variable may be why. */
function noteNearVariables(): void {
  if (hasNoted) return;
  hasNoted = true;
  for (const near of nearVariables())
    writeLine(process.stderr, `purser: ${nearVariableText(near)}`);
}

/** Returns the command that argv names and the remaining arguments; undefined when there is no such command. */
export function matchCommand(
  commands: readonly Command[],
  argv: readonly string[],
): { command: Command; rest: readonly string[] } | undefined {
  const byLength = commands.toSorted((a, b) => b.path.length - a.path.length);
  for (const command of byLength) {
    const words = command.path.split(' ');
    if (words.every((word, index) => argv[index] === word)) {
      return { command, rest: argv.slice(words.length) };
    }
  }
  return undefined;
}

/** Parses the arguments after the command's words. Throws UsageError with the fault and the help command. */
export function parseInvocation(command: Command, rest: readonly string[]): Invocation {
  const options = command.options ?? {};
  const help = `see: purser ${command.path} --help`;
  let parsed: { values: Record<string, unknown>; positionals: string[] };
  try {
    parsed = parseArgs({
      args: [...rest],
      allowPositionals: true,
      strict: true,
      options: Object.fromEntries(
        Object.entries(options).map(([name, spec]) => [
          name,
          {
            type: spec.value === undefined ? ('boolean' as const) : ('string' as const),
            multiple: spec.repeats === true,
          },
        ]),
      ),
    });
  } catch (error) {
    const text = messageOf(error).split('. To specify')[0] ?? '';
    const [, unknown] = /^Unknown option '--?([^']+)'/.exec(text) ?? [];
    const near = unknown === undefined ? undefined : nearName(unknown, Object.keys(options));
    const fault = `${text.replace(/\.$/, '')}${near === undefined ? ';' : didYouMean(`--${near}`)}`;
    throw new UsageError(`${fault} ${help}`);
  }
  const { values, positionals } = parsed;
  for (const [name, spec] of Object.entries(options)) {
    if (spec.required && values[name] === undefined) {
      throw new UsageError(`--${name} ${spec.value ?? ''} is missing (${spec.help}); ${help}`);
    }
  }
  const expected = command.positionals ?? [];
  const missing = expected.find((spec, index) => spec.required && positionals[index] === undefined);
  if (missing !== undefined) {
    throw new UsageError(`${missing.name} is missing (${missing.help}); ${help}`);
  }
  if (positionals.length > expected.length) {
    throw new UsageError(
      `unexpected argument ${JSON.stringify(positionals[expected.length])}; ${help}`,
    );
  }
  const value = (name: string): string | undefined => {
    const found = values[name];
    return typeof found === 'string' ? found : undefined;
  };
  const valuesOf = (name: string): readonly string[] => {
    const found: unknown[] = [values[name]].flat();
    return found.filter((each) => typeof each === 'string');
  };
  return {
    positionals,
    value,
    values: valuesOf,
    required: (name) => value(name) ?? '',
    flag: (name) => values[name] === true,
    // A driver without its patches is reported before any fault of the configuration.
    config: () => {
      assertDriverPatched();
      noteNearVariables();
      return readSettings();
    },
    input: () => process.stdin,
    print: (line) => writeLine(process.stdout, line),
    note: (line) => writeLine(process.stderr, line),
    interactive: process.stderr.isTTY,
  };
}

/** Returns the option's whole number, or `fallback`. Throws a usage error outside the bounds. */
export function wholeNumber(
  invocation: Invocation,
  name: string,
  fallback: number,
  bounds: { readonly min: number; readonly max: number },
): number {
  const text = invocation.value(name);
  if (text === undefined) return fallback;
  const parsed = /^-?\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
  if (!(parsed >= bounds.min && parsed <= bounds.max)) {
    throw new UsageError(
      `--${name} must be a whole number from ${bounds.min} to ${bounds.max}, not ${JSON.stringify(text)}`,
    );
  }
  return parsed;
}
