/** Named values, one below the other. Lines of a text stay in its column, so that it cannot look like another field. */

const fieldColumn = 15;
const nextLine = `\n${' '.repeat(fieldColumn)}`;

export const fieldLines = (fields: readonly (readonly [string, string])[]): string =>
  fields
    .map(([name, text]) => `${name.padEnd(fieldColumn)}${text.replaceAll('\n', nextLine)}`)
    .join('\n');
