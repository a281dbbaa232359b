/** Commands as text that a POSIX shell takes back word for word. */

/** Quotes one argument where it needs it. */
export const quoted = (text: string): string =>
  /^[\w.:@/-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;

/** `--name=value`, which also takes a value that begins with a dash. */
export const option = (name: string, value: string): string => `--${name}=${quoted(value)}`;

/** `purser` with these words, which are quoted by the caller. A word in capitals stands for what the reader chooses. */
export const purserCommand = (...words: readonly string[]): string =>
  ['purser', ...words].join(' ');
