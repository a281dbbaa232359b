/**
 * Ids that a spreadsheet has changed: a long number saved in scientific notation has lost its last digits, and accounts
 * that differed become one.
 */

const scientific = /^\d(?:[.,]\d+)?E\+\d+$/i;
const withDecimals = /^\d{6,}[.,]0+$/;
const spreadsheetError = /^#(?:#+|N\/A|NAME\?|NULL!|NUM!|REF!|VALUE!|DIV\/0!)$/;

export function isChangedBySpreadsheet(id: string): boolean {
  const text = id.trim();
  return scientific.test(text) || withDecimals.test(text) || spreadsheetError.test(text);
}

/** Why a text cannot be an id, if a spreadsheet wrote it. */
export function spreadsheetFault(id: string): string | undefined {
  if (!isChangedBySpreadsheet(id)) return undefined;
  const text = id.trim();
  return (
    `${JSON.stringify(text.slice(0, 40))} is an id that a spreadsheet has changed; use the file as it was ` +
    'downloaded, or format the column as text before it is opened'
  );
}
