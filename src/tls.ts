/**
 * TLS to Postgres and Redis, the same for every driver: what a URL and the `*_TLS_VERIFY` variables ask for, and
 * the error message when TLS fails.
 */
import { readFileSync } from 'node:fs';
import { checkServerIdentity } from 'node:tls';
import type { ConnectionOptions, PeerCertificate } from 'node:tls';
import { codeOf, exitCodes, messageOf, PurserError } from './errors.ts';

export interface PostgresAddress {
  /** Without what only libpq understands: drivers would read it differently, or send it to the server. */
  readonly url: string;
  readonly tls: ConnectionOptions | false;
}

/** libpq's parameters that are read here, or that no driver for Node supports. */
const libpqOnly = [
  'sslmode',
  'ssl',
  'sslrootcert',
  'sslcert',
  'sslkey',
  'channel_binding',
  'gssencmode',
  'uselibpqcompat',
];

/**
 * The address and the TLS of a Postgres URL. `verify`: undefined follows `sslmode` as libpq does (`prefer`
 * and `allow` are taken as `require`, so that encryption is never lost silently); true is TLS with the
 * certificate checked; false is TLS with any certificate.
 */
export function postgresAddress(text: string, verify: boolean | undefined): PostgresAddress {
  const url = new URL(text);
  const given = url.searchParams;
  const mode = given.get('sslmode') ?? (given.get('ssl') === 'true' ? 'verify-full' : 'disable');
  const files = {
    ca: given.get('sslrootcert'),
    cert: given.get('sslcert'),
    key: given.get('sslkey'),
  };
  const named = libpqOnly.filter((name) => given.has(name));
  for (const name of named) given.delete(name);
  return {
    url: named.length === 0 ? text : url.href,
    tls: verify === undefined && mode === 'disable' ? false : tlsOf(url, mode, verify, files),
  };
}

/** The file that a parameter of the URL names. Throws `invalid_configuration` (exit 78) where it cannot be read. */
function read(name: string, path: string | null): string | undefined {
  if (path === null) return undefined;
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new PurserError(
      'invalid_configuration',
      `${name} in the database's URL cannot be read: ${messageOf(error)}`,
      { cause: error, exitCode: exitCodes.configuration },
    );
  }
}

function tlsOf(
  url: URL,
  mode: string,
  verify: boolean | undefined,
  files: Readonly<Record<'ca' | 'cert' | 'key', string | null>>,
): ConnectionOptions {
  // `system` names the authorities of the machine, which are Node's default.
  const ca = files.ca === 'system' ? undefined : read('sslrootcert', files.ca);
  const cert = read('sslcert', files.cert);
  const key = read('sslkey', files.key);
  const host = url.hostname.replace(/^\[|\]$/g, '');
  // libpq: `require` with an authority's file is `verify-ca`, which checks the issuer, not the host name.
  const checksName = verify ?? (mode === 'verify-full' || files.ca === 'system');
  const checks = verify ?? (mode.startsWith('verify-') || files.ca !== null);
  return {
    rejectUnauthorized: checks,
    // Named here because postgres.js forgets the host where it is an IP address, and Node then checks "localhost".
    checkServerIdentity: (_: string, peer: PeerCertificate) =>
      checksName ? checkServerIdentity(host, peer) : undefined,
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
  };
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
  'ERR_TLS_CERT_ALTNAME_INVALID',
]);
const noTls = /secure TLS connection was established|does not support SSL|wrong version number/;

/** Explains a connection error that is caused by TLS; returns any other error unchanged. */
export function explainTls(error: unknown, service: 'Postgres' | 'Redis'): unknown {
  const variable = service === 'Postgres' ? 'DATABASE_TLS_VERIFY' : 'REDIS_TLS_VERIFY';
  if (error instanceof PurserError) return error;
  if (certificateCodes.has(codeOf(error))) {
    return new PurserError(
      'certificate_refused',
      `the certificate of ${service} is not trusted (${messageOf(error)}). Name its authority in ` +
        `NODE_EXTRA_CA_CERTS, or accept it unchecked, still encrypted, with ${variable}=false`,
      { cause: error, exitCode: exitCodes.unavailable },
    );
  }
  if (noTls.test(messageOf(error))) {
    const plain =
      service === 'Postgres'
        ? `unset ${variable} and drop sslmode from the URL`
        : `unset ${variable} and use a redis:// URL`;
    return new PurserError(
      'tls_unavailable',
      `${service} was asked for TLS and did not answer in TLS (${messageOf(error)}). ` +
        `If it offers none, ${plain}`,
      { cause: error, exitCode: exitCodes.unavailable },
    );
  }
  return error;
}
