/**
 * The formats of cost exports that can be ingested, by the name that an upload's row carries.
 */
import { PurserError } from '../../errors.ts';
import { awsCur2Format } from './aws-cur-2.ts';
import { awsCurFormat } from './aws-cur.ts';
import { focusFormat } from './focus.ts';
import { recogniseForeign } from './foreign-formats.ts';
import { guessFormatName, mapColumns } from './format.ts';
import type { CostFormat } from './format.ts';

const formats: readonly CostFormat[] = [focusFormat, awsCurFormat, awsCur2Format];

export type FormatName = CostFormat['name'];
/** Values of --format. */
export const formatChoices = ['auto', ...formats.map(({ name }) => name)] as const;
export type FormatChoice = (typeof formatChoices)[number];

export function isFormatChoice(text: string): text is FormatChoice {
  return formatChoices.some((choice) => choice === text);
}

/** Throws `unknown_format` (fatal) for the name of a format that a newer version added. */
export function formatNamed(name: string): CostFormat {
  const format = formats.find((each) => each.name === name);
  if (format !== undefined) return format;
  throw new PurserError(
    'unknown_format',
    `this version of Purser cannot read format ${JSON.stringify(name)}; update the workers`,
    { details: { class: 'fatal' } },
  );
}

/** Whether a header has all required columns of a format, or is that of an export that is recognised. */
export function isKnownHeader(names: readonly string[]): boolean {
  if (recogniseForeign(names) !== undefined) return true;
  try {
    mapColumns(chooseFormat('auto', names), names);
    return true;
  } catch (error) {
    if (error instanceof PurserError) return false;
    throw error;
  }
}

/** The chosen format, or with `auto` the one that the header matches. */
export function chooseFormat(choice: FormatChoice, header: readonly (string | null)[]): CostFormat {
  return formatNamed(choice === 'auto' ? guessFormatName(header) : choice);
}
