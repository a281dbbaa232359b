/** The README and .env.example match the code. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { withTables } from '../scripts/readme-tables.ts';
import { describeConfig } from '../src/config.ts';

const root = join(import.meta.dirname, '..');
const read = (name: string): string => readFileSync(join(root, name), 'utf8');

test('the README lists the commands and variables of the code (if not, run: npm run docs)', () => {
  const readme = read('README.md');
  expect(readme).toContain('<!-- commands -->');
  expect(readme).toContain('<!-- configuration -->');
  expect(withTables(readme)).toBe(readme);
  expect(readme.split('\n').length).toBeLessThan(300);
});

test('.env.example names every variable, once', () => {
  const named = [...read('.env.example').matchAll(/^#? ?([A-Z][A-Z_]+)=/gm)].map(
    ([, name]) => name,
  );
  expect(named.map(String).toSorted()).toEqual(
    describeConfig()
      .map(({ name }) => name)
      .toSorted(),
  );
});

test('files that the README links to exist', () => {
  const links = [...read('README.md').matchAll(/\]\((?!https?:)([^)#]+)\)/g)].map(
    ([, path]) => path,
  );
  expect(links.length).toBeGreaterThan(5);
  const empty = links.filter((link) => read(link ?? '') === '');
  expect(empty).toEqual([]);
});
