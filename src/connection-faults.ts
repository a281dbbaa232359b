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
      ? 'unset DATABASE_TLS_VERIFY and drop sslmode from the URL'
      : 'unset REDIS_TLS_VERIFY and use a redis:// URL';
  return new PurserError(
    'tls_unavailable',
    `${service} was asked for TLS and did not answer in TLS (${messageOf(error)}). ` +
      `If it offers none, ${plain}`,
    { cause: error, exitCode: exitCodes.unavailable },
  );
}
