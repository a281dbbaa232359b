/** The command that mistyped words stand for: a slip, a missing or added `s`, or the words in another order. */
import type { Command } from './command.ts';
import { nearName } from './near-name.ts';

const sorted = (words: readonly string[]): string => [...words].toSorted().join(' ');

/** The path of a command near the first words of argv, e.g. `jobs list` for `list job --json`; undefined: none is. */
export function nearCommand(
  commands: readonly Command[],
  argv: readonly string[],
): string | undefined {
  const firstOption = argv.findIndex((word) => word.startsWith('-'));
  const words = firstOption === -1 ? argv : argv.slice(0, firstOption);
  for (let length = Math.min(3, words.length); length > 0; length -= 1) {
    const given = words.slice(0, length);
    const paths = commands
      .map(({ path }) => path)
      .filter((path) => path.split(' ').length === length);
    const near =
      nearName(given.join(' '), paths) ??
      paths.find((path) => {
        const asGiven = nearName(sorted(given), [sorted(path.split(' '))]);
        return length > 1 && asGiven !== undefined;
      });
    if (near !== undefined) return near;
  }
  return undefined;
}
