/**
 * Whether a store refuses the login itself, or has no such database: no retry with the same address and login helps,
 * unless a credential is just being replaced.
 */
import { codeOf, messageOf } from './errors.ts';

/** SQLSTATE: invalid password, invalid authorization, no such database. */
const loginStates = new Set(['28P01', '28000', '3D000']);
/** PgBouncer refuses a login by a protocol violation. */
const poolerRefusal = /^(password authentication failed|no such (user|database))/;
const redisRefusal = /^(WRONGPASS|NOAUTH|NOPERM)\b/;

export function isLoginFault(error: unknown): boolean {
  const code = codeOf(error);
  const message = messageOf(error);
  return (
    loginStates.has(code) ||
    (code === '08P01' && poolerRefusal.test(message)) ||
    (error instanceof Error && error.name === 'ReplyError' && redisRefusal.test(message))
  );
}
