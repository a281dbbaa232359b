/** Who may use the web role, and what the tenancy level means for what the database stores of them. */
import type { Database } from '../../../db/database.ts';
import { listOperators } from '../../../operations/operators/operators.ts';
import { listSessions } from '../../../operations/operators/sessions.ts';
import { listTokens } from '../../../operations/operators/tokens.ts';
import { ok, warn } from './finding.ts';
import type { CheckResult } from './finding.ts';

const expiresSoonMs = 14 * 86_400_000;
const countedSessions = 1_000;

const counted = (count: number, what: string): string =>
  `${count} ${what}${count === 1 ? '' : 's'}`;

export async function checkAccess({ system: sql, level }: Database): Promise<CheckResult> {
  const operators = await listOperators(sql);
  const sessions = await listSessions(sql, { limit: countedSessions });
  const now = Date.now();
  const tokens = (await listTokens(sql)).filter(({ expiresAt }) => expiresAt.getTime() > now);
  const seen = [
    counted(operators.length, 'named operator'),
    counted(sessions.length, 'open session'),
    counted(tokens.length, 'token'),
  ].join(', ');
  if (level === 'L1') {
    return warn(
      `${seen}; at level L1 SQL of a handler can mark its session as a system session, and then read their hashes, ` +
        'end their sessions, and add an operator',
      'give the login CREATEROLE, or have purser_system and purser_tenant granted to it, and migrate again',
    );
  }
  const soon = tokens.filter(({ expiresAt }) => expiresAt.getTime() - now < expiresSoonMs);
  if (soon.length === 0) return ok(seen);
  const named = soon
    .slice(0, 5)
    .map(({ name, expiresAt }) => `${name} on ${expiresAt.toISOString().slice(0, 10)}`);
  return warn(
    `${seen}; tokens that end soon: ${named.join(', ')}`,
    'make new ones for their programs: purser tokens add',
  );
}
