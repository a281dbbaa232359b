/**
 * What an error of a connection to Postgres or Redis means. TLS: the message names the setting. Login: the store refuses
 * the login itself, or has no such database; no retry with the same address and login helps, unless a credential is
 * just being replaced.
 */
import { codeOf, exitCodes, messageOf, PurserError } from './errors.ts';

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

/**
 * What the store says about a login in other words: its own repeat the user and the database, and in a URL with a slip
 * these are pieces of the password. `undefined` for an error of another kind.
 */
export function loginFaultText(error: unknown): string | undefined {
  if (!isLoginFault(error)) return undefined;
  const [code, message] = [codeOf(error), messageOf(error)];
  if (code === '28P01') return 'password authentication failed';
  if (code === '3D000') return 'the database does not exist';
  if (code === '08P01') return 'the pooler refuses user, password or database';
  // The messages of Redis name no user but one that has logged in.
  if (code !== '28000') return message;
  if (!message.includes('pg_hba.conf')) return 'the user does not exist, or may not log in';
  const tls = /no encryption|SSL off/.test(message) ? ' without TLS' : '';
  return `pg_hba.conf of the server refuses this user, database and address${tls}`;
}

const maxCauses = 20;

/** A text that was made of an error and its causes, such as a stack, without the words of a refused login. */
export function withoutLogins(text: string, error: unknown): string {
  let safe = text;
  let cause = error;
  for (let depth = 0; depth < maxCauses && cause instanceof Error; depth += 1) {
    const words = loginFaultText(cause);
    if (words !== undefined && cause.message !== '') safe = safe.replaceAll(cause.message, words);
    ({ cause } = cause);
  }
  return safe;
}

const certificateCodes = new Set([
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'CERT_HAS_EXPIRED',
  'CERT_NOT_YET_VALID',
  'CERT_UNTRUSTED',
]);
const noTls = /secure TLS connection was established|does not support SSL|wrong version number/;

/** Explains a connection error that is caused by TLS; returns any other error unchanged. */
export function explainTls(error: unknown, service: 'Postgres' | 'Redis'): unknown {
  const variable = service === 'Postgres' ? 'DATABASE_TLS_VERIFY' : 'REDIS_TLS_VERIFY';
  if (error instanceof PurserError) return error;
  if (codeOf(error) === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    const authorityOnly =
      service === 'Postgres' ? ', or check the authority alone with sslmode=verify-ca' : '';
    return new PurserError(
      'certificate_refused',
      `the certificate of ${service} is for another host (${messageOf(error)}). Connect by a name that it has` +
        authorityOnly,
      { cause: error, exitCode: exitCodes.unavailable },
    );
  }
  if (certificateCodes.has(codeOf(error))) {
    return new PurserError(
      'certificate_refused',
      `the certificate of ${service} is not trusted (${messageOf(error)}). Name its authority in ` +
        `NODE_EXTRA_CA_CERTS, or accept it unchecked, still encrypted, with ${variable}=false`,
      { cause: error, exitCode: exitCodes.unavailable },
    );
  }
  return noTls.test(messageOf(error)) ? tlsUnavailable(error, service) : error;
}

export function tlsUnavailable(error: unknown, service: 'Postgres' | 'Redis'): PurserError {
  const plain =
    service === 'Postgres'
      ? 'unset DATABASE_TLS_VERIFY and PGSSLMODE, and drop sslmode from the URL'
      : 'unset REDIS_TLS_VERIFY and use a redis:// URL';
  return new PurserError(
    'tls_unavailable',
    `${service} was asked for TLS and did not answer in TLS (${messageOf(error)}). ` +
      `If it offers none, ${plain}`,
    { cause: error, exitCode: exitCodes.unavailable },
  );
}
