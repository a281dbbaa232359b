/** Warns while anything is paused, because a pause is easily forgotten. */
import type { Queryable } from '../../../db/connect.ts';
import { listPauses } from '../../../jobs/pauses.ts';
import { pauseTitle, resumeCommand } from '../../reports/pauses.ts';
import { ok, warn } from './finding.ts';
import type { CheckResult } from './finding.ts';

/** This many pauses are named; the others are counted. */
const maxNamed = 5;

export async function checkPauses(sql: Queryable): Promise<CheckResult> {
  const pauses = await listPauses(sql);
  if (pauses.length === 0) return ok('nothing is paused');
  const named = pauses.slice(0, maxNamed);
  const texts = named.map(
    (pause) =>
      `${pauseTitle(pause)} since ${pause.at.toISOString()} by ${pause.by} (${pause.reason})`,
  );
  const more = pauses.length - named.length;
  return warn(
    `paused: ${texts.join('; ')}${more > 0 ? `; and ${more} more: purser pauses` : ''}`,
    `when the reason no longer applies: ${named.map(resumeCommand).join('; ')}`,
  );
}
