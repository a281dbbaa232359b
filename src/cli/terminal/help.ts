/** Help texts, generated from the command definitions. */
import type { Command } from './command.ts';

const usageOf = (command: Command): string => {
  const positionals = (command.positionals ?? []).map((spec) =>
    spec.required ? spec.name : `[${spec.name}]`,
  );
  const options = Object.entries(command.options ?? {}).map(([name, spec]) => {
    const text = spec.value === undefined ? `--${name}` : `--${name} ${spec.value}`;
    return spec.required === true ? text : `[${text}]`;
  });
  return ['purser', command.path, ...positionals, ...options].join(' ');
};

const columns = (rows: readonly (readonly [string, string])[]): string[] => {
  const width = Math.max(0, ...rows.map(([left]) => left.length));
  return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`);
};

/** Help of all commands, or of those that start with the word `prefix`. */
export function overviewHelp(commands: readonly Command[], prefix = ''): string {
  const shown = commands.filter(
    ({ path }) => prefix === '' || path === prefix || path.startsWith(`${prefix} `),
  );
  return [
    'Usage: purser COMMAND [options]',
    '',
    ...columns(shown.map((command) => [command.path, command.summary])),
    '',
    'Run purser COMMAND --help for its options. Configuration is read from the environment; see the README.',
    'Exit codes: 0 success, 1 failure or fault found, 64 wrong usage, 69 service unavailable, 78 wrong configuration.',
  ].join('\n');
}

export function commandHelp(command: Command): string {
  const positionals = (command.positionals ?? []).map(
    (spec) => [spec.name, spec.help] as [string, string],
  );
  const options = Object.entries(command.options ?? {}).map(
    ([name, spec]) =>
      [spec.value === undefined ? `--${name}` : `--${name} ${spec.value}`, spec.help] as [
        string,
        string,
      ],
  );
  return [
    `Usage: ${usageOf(command)}`,
    '',
    command.summary,
    '',
    ...columns([...positionals, ...options]),
  ]
    .join('\n')
    .trimEnd();
}
