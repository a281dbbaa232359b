/**
 * Generates the README's tables of commands and configuration from the code. `npm run docs` writes them; a test
 * compares them.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { allCommands } from '../src/cli/commands.ts';
import { describeConfig } from '../src/config.ts';

const commands = await allCommands();

const cell = (text: string): string => text.replaceAll('|', '\\|');

export function commandTable(): string {
  const rows = commands.map(({ path, summary }) => `| \`purser ${path}\` | ${cell(summary)} |`);
  return ['| command | what it does |', '|---|---|', ...rows].join('\n');
}

export function configurationTable(): string {
  const rows = describeConfig().map(
    ({ name, default: fallback, description, example }) =>
      `| \`${name}\` | ${fallback === '' ? '' : `\`${fallback}\``} | ${cell(description)} | ${
        example.startsWith('the output') ? cell(example) : `\`${cell(example)}\``
      } |`,
  );
  return ['| variable | default | meaning | example |', '|---|---|---|---|', ...rows].join('\n');
}

function put(text: string, name: string, table: string): string {
  return text.replace(
    new RegExp(`(<!-- ${name} -->\n)[\\s\\S]*?(\n<!-- /${name} -->)`),
    (_, open: string, close: string) => `${open}${table}${close}`,
  );
}

/** Returns the README with both tables replaced by the generated ones. */
export function withTables(readme: string): string {
  return put(put(readme, 'commands', commandTable()), 'configuration', configurationTable());
}

if (process.argv[1] === import.meta.filename) {
  const path = join(import.meta.dirname, '..', 'README.md');
  writeFileSync(path, withTables(readFileSync(path, 'utf8')));
}
