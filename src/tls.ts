/**
 * TLS to Postgres and Redis, the same for every driver: what a URL and the `*_TLS_VERIFY` variables ask for, and
 * the error message when TLS fails.
 */
import { readFileSync } from 'node:fs';
import { checkServerIdentity } from 'node:tls';
import type { ConnectionOptions, PeerCertificate } from 'node:tls';
import { codeOf, exitCodes, messageOf, PurserError } from './errors.ts';

/** What a URL of Postgres names, the same for every driver: none of them parses it. */
export interface PostgresAddress {
  /** A name, an address (IPv6 without brackets), or the folder of a socket. */
  readonly host: string;
  readonly port: number;
  readonly user?: string;
  readonly password?: string;
  readonly database?: string;
  readonly tls: ConnectionOptions | false;
}

const modes = ['disable', 'allow', 'prefer', 'require', 'no-verify', 'verify-ca', 'verify-full'];
const modeOfSsl: Readonly<Record<string, string>> = {
  ...Object.fromEntries(['true', '1', 'on', 'yes'].map((word) => [word, 'verify-full'])),
  ...Object.fromEntries(['false', '0', 'off', 'no'].map((word) => [word, 'disable'])),
  ...Object.fromEntries(modes.map((mode) => [mode, mode])),
};

/** Parameters that are read here. */
const read = [
  'ssl',
  'sslmode',
  'sslrootcert',
  'sslcert',
  'sslkey',
  'host',
  'port',
  'user',
  'password',
  'dbname',
];
/** Parameters of other clients that change nothing here: Purser has its own value, or no driver for Node has it. */
const ignored =
  'application_name channel_binding client_encoding connect_timeout connection_limit fallback_application_name ' +
  'gssencmode keepalives keepalives_count keepalives_idle keepalives_interval pgbouncer pool_timeout schema ' +
  'sslsni statement_cache_size tcp_user_timeout uselibpqcompat';
const ignoredNames = new Set(ignored.split(' '));

/**
 * The address and the TLS of a Postgres URL. `verify`: undefined follows `sslmode` as libpq does (`prefer`
 * and `allow` are taken as `require`, so that encryption is never lost silently); true is TLS with the
 * certificate checked; false is TLS with any certificate. Throws `invalid_configuration` (exit 78) for whatever
 * would otherwise be ignored.
 */
export function postgresAddress(text: string, verify: boolean | undefined): PostgresAddress {
  const url = parse(text);
  const given = url.searchParams;
  for (const [name, value] of given) {
    const harmless =
      name === 'target_session_attrs' && ['any', 'primary', 'read-write'].includes(value);
    if (given.getAll(name).length > 1) refuse(`the parameter ${name} is given twice`);
    if (read.includes(name) || ignoredNames.has(name) || harmless) continue;
    refuse(`the parameter ${name} is not supported; remove it`);
  }
  const host = given.get('host') ?? decode(url.hostname).replace(/^\[|\]$/g, '');
  if (host.includes(',')) refuse('several hosts are not supported; name the primary or a proxy');
  const mode = modeOf(given);
  const files = {
    ca: given.get('sslrootcert'),
    cert: given.get('sslcert'),
    key: given.get('sslkey'),
  };
  const inClear = host.startsWith('/') || (verify === undefined && mode === 'disable');
  return {
    host: host === '' ? 'localhost' : host,
    port: Number(given.get('port') ?? (url.port === '' ? 5432 : url.port)),
    ...named('user', given.get('user') ?? decode(url.username)),
    ...named('password', given.get('password') ?? decode(url.password)),
    ...named('database', given.get('dbname') ?? decode(url.pathname.slice(1))),
    tls: inClear ? false : tlsOf(host, mode, verify, files),
  };
}

const named = (name: 'user' | 'password' | 'database', value: string) =>
  value === '' ? {} : { [name]: value };

function parse(text: string): URL {
  if (/^postgres(?:ql)?:\/\/[^/?#]*,/i.test(text.replace(/\/\/[^/?#]*@/, '//'))) {
    refuse('several hosts are not supported; name the primary or a proxy');
  }
  // A scheme that URL knows nothing of takes no empty host with a user or a port.
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^postgres(?:ql)?:$/.test(url.protocol)) {
    refuse('it is not a URL such as postgres://user:password@host:5432/database');
  }
  return url;
}

/** TLS is on or off by one word only; two that differ are a mistake. */
function modeOf(given: URLSearchParams): string {
  const [mode, ssl] = [given.get('sslmode'), given.get('ssl')];
  if (mode !== null && !modes.includes(mode)) {
    refuse(`sslmode is none of ${modes.join(', ')}`);
  }
  const ofSsl = ssl === null ? undefined : modeOfSsl[ssl];
  if (ssl !== null && ofSsl === undefined) {
    refuse(`ssl is none of ${Object.keys(modeOfSsl).join(', ')}`);
  }
  if (mode !== null && ofSsl !== undefined && (mode === 'disable') !== (ofSsl === 'disable')) {
    refuse('ssl and sslmode contradict each other; use sslmode alone');
  }
  return mode ?? ofSsl ?? 'disable';
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return refuse('it has a % that is not followed by two hexadecimal digits; write % as %25');
  }
}

/** The URL holds a password, so it is not repeated. */
function refuse(fault: string): never {
  throw new PurserError('invalid_configuration', `the database's URL: ${fault}`, {
    exitCode: exitCodes.configuration,
  });
}

/** The file that a parameter of the URL names. Throws `invalid_configuration` (exit 78) where it cannot be read. */
function readFile(name: string, path: string | null): string | undefined {
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
  host: string,
  mode: string,
  verify: boolean | undefined,
  files: Readonly<Record<'ca' | 'cert' | 'key', string | null>>,
): ConnectionOptions {
  // `system` names the authorities of the machine, which are Node's default.
  const ca = files.ca === 'system' ? undefined : readFile('sslrootcert', files.ca);
  const cert = readFile('sslcert', files.cert);
  const key = readFile('sslkey', files.key);
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
