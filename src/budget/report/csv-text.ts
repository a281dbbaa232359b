/** Writes CSV (RFC 4180, UTF-8). */

/** With these a spreadsheet begins a formula, also in their full-width forms, or skips to the sign behind them. */
const formulaStart = /^[\s]*[=+\-@\uff1d\uff0b\uff0d\uff20]|^[\t\r\n]/;

/**
 * A text that a spreadsheet shows and never computes: a value that would begin a formula gets an apostrophe in front.
 * Not for amounts, which may be negative, nor for files that another program reads.
 */
export function plainCell(text: string): string {
  return formulaStart.test(text) ? `'${text}` : text;
}

/** One record without its line end. Null is an empty field, which an empty text in quotes is not. */
export function csvRecord(fields: readonly (string | number | null)[]): string {
  return fields.map(fieldOf).join(',');
}

function fieldOf(field: string | number | null): string {
  if (field === null) return '';
  const text = String(field);
  return text === '' || /[",\r\n]|^\s|\s$|^null$/i.test(text)
    ? `"${text.replaceAll('"', '""')}"`
    : text;
}
