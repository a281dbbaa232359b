/** What `doctor` says of pauses: each is somebody's decision, and easily forgotten. */
import type { Queryable } from '../../db/connect.ts';
import { listPauses } from '../../jobs/pauses.ts';
import { pauseTitle, resumeCommand } from '../reports/pause-text.ts';

/** Pauses named in full; of more, only their number is said. */
const named = 5;

export async function checkPauses(sql: Queryable) {
  const pauses = await listPauses(sql);
  if (pauses.length === 0) return { level: 'ok' as const, seen: 'nothing is paused' };
  const said = pauses
    .slice(0, named)
    .map(
      (pause) =>
        `${pauseTitle(pause)} since ${pause.at.toISOString()} by ${pause.by} (${pause.reason})`,
    );
  const rest = pauses.length - said.length;
  return {
    level: 'warn' as const,
    seen: `paused: ${said.join('; ')}${rest > 0 ? `; and ${rest} more: purser pauses` : ''}`,
    fix: `when its reason is gone: ${pauses.slice(0, named).map(resumeCommand).join('; ')}`,
  };
}
