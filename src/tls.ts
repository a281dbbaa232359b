/**
 * The address of a Postgres and TLS to it, the same for every driver: what a URL and `DATABASE_TLS_VERIFY` ask for.
 * Whatever they ask for wrongly is refused here, before the first connection.
 */
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { checkServerIdentity, createSecureContext } from 'node:tls';
import type { ConnectionOptions, PeerCertificate } from 'node:tls';
import { codeOf, exitCodes, PurserError } from './errors.ts';
import { connectTimeoutOf, parameterFault, sslModes } from './postgres-parameters.ts';
import { authorityOf, isPort, parametersOf, partFault } from './url-text.ts';
import { portFault, urlTextFault } from './url-text.ts';

/** What a URL of Postgres names, the same for every driver: none of them parses it. */
export interface PostgresAddress {
  /** A name, an address (IPv6 without brackets), or the folder of a socket. */
  readonly host: string;
  readonly port: number;
  readonly user?: string;
  readonly password?: string;
  readonly database?: string;
  /** The limit of one attempt to connect. */
  readonly connectTimeoutS: number;
  readonly tls: ConnectionOptions | false;
}

const modeOfSsl: ReadonlyMap<string, string> = new Map([
  ...['true', '1', 'on', 'yes'].map((word) => [word, 'verify-full'] as const),
  ...['false', '0', 'off', 'no'].map((word) => [word, 'disable'] as const),
  ...sslModes.map((mode) => [mode, mode] as const),
]);
const severalHosts = 'several hosts are not supported; name the primary or a proxy';

/**
 * The address and the TLS of a Postgres URL. `verify`: undefined follows `sslmode` as libpq does (`prefer`
 * and `allow` are taken as `require`, so that encryption is never lost silently); true is TLS with the
 * certificate checked; false is TLS with any certificate. Throws `invalid_configuration` (exit 78) for whatever
 * would otherwise be ignored, replaced by a default, or fail later.
 */
export function postgresAddress(text: string, verify: boolean | undefined): PostgresAddress {
  const { login, written, port, database, given } = parse(text);
  const host = given.get('host') ?? (written === '' ? 'localhost' : written);
  if (host.includes(',')) refuse(severalHosts);
  const files = readFiles(given);
  const mode = modeOf(given, verify);
  const inClear = host.startsWith('/') || (verify === undefined && mode === 'disable');
  const [user = '', ...password] = login.split(':');
  const whoIs = given.get('user') ?? decode(user);
  const secret = given.get('password') ?? decode(password.join(':'));
  // The password stands in the user, which the server repeats in its messages.
  if (secret === '' && (user.includes('@') || whoIs.includes(':'))) {
    refuse(
      'it has no password, and a user with an @ or a colon; write user:password@host, and an @ in a user as %40',
    );
  }
  return {
    host,
    port: Number(port ?? 5432),
    ...named('user', whoIs),
    ...named('password', secret),
    ...named('database', given.get('dbname') ?? decode(database)),
    connectTimeoutS: connectTimeoutOf(given),
    tls: inClear ? false : tlsOf(host, mode, verify, given.get('sslrootcert'), files),
  };
}

const named = (name: 'user' | 'password' | 'database', value: string) =>
  value === '' ? {} : { [name]: value };

function parse(text: string) {
  const fault = urlTextFault(text);
  if (fault !== undefined) refuse(`it ${fault}`);
  const parts = /^postgres(?:ql)?:/i.test(text) ? authorityOf(text) : undefined;
  if (parts !== undefined && `${parts.host}${parts.port}`.includes(',')) refuse(severalHosts);
  if (parts === undefined || !URL.canParse(`postgres://${parts.host || 'host'}`)) {
    refuse('it is not a URL such as postgres://user:password@host:5432/database');
  }
  if (text.includes('#')) refuse('it has a fragment; write # as %23');
  const { login = '', host, rest } = parts;
  const given = parameters(rest);
  const ports = [parts.port ?? '', given.get('port') ?? ''].filter((port) => port !== '');
  if (!ports.every(isPort)) refuse(`it ${portFault}`);
  const namesNone = host === '' && !given.has('host');
  if (namesNone && (parts.login !== undefined || parts.port !== undefined)) {
    refuse(
      'it names no host; write one before the port, or the folder of a socket as ?host=/folder',
    );
  }
  const [, database = ''] = /^\/([^?]*)/.exec(rest) ?? [];
  return {
    login,
    written: decode(host.replace(/^\[|\]$/g, '')),
    port: ports.at(-1),
    database,
    given,
  };
}

function parameters(rest: string): ReadonlyMap<string, string> {
  const pairs = parametersOf(rest).map(([name, value]) => [decode(name), decode(value)] as const);
  const names = pairs.map(([name]) => name);
  for (const [name, value] of pairs) {
    const fault = parameterFault(name, value, names);
    if (fault !== undefined) refuse(fault);
  }
  return new Map(pairs);
}

/** TLS is on or off by one word only; two that differ are a mistake. */
function modeOf(given: ReadonlyMap<string, string>, verify: boolean | undefined): string {
  const [mode, ssl] = [given.get('sslmode'), given.get('ssl')];
  if (mode !== undefined && !sslModes.includes(mode)) {
    refuse(`sslmode is none of ${sslModes.join(', ')}`);
  }
  const ofSsl = ssl === undefined ? undefined : modeOfSsl.get(ssl);
  if (ssl !== undefined && ofSsl === undefined) {
    refuse(`ssl is none of ${[...modeOfSsl.keys()].join(', ')}`);
  }
  if (mode !== undefined && ofSsl !== undefined && (mode === 'disable') !== (ofSsl === 'disable')) {
    refuse('ssl and sslmode contradict each other; use sslmode alone');
  }
  const asked = mode ?? ofSsl;
  const file = ['sslrootcert', 'sslcert'].find((name) => given.has(name));
  if (file === undefined) return asked ?? 'disable';
  if (asked === 'disable') refuse(`sslmode=disable and ${file} contradict each other; drop one`);
  // As in libpq, where `system` alone is the strictest mode.
  if (asked === undefined && given.get('sslrootcert') === 'system') return 'verify-full';
  if (asked === undefined && verify === undefined) {
    refuse(`it has ${file} and no sslmode, so nothing would be encrypted; add sslmode=verify-full`);
  }
  return asked ?? 'disable';
}

function decode(part: string): string {
  const fault = partFault(part);
  return fault === undefined ? decodeURIComponent(part) : refuse(`it ${fault}`);
}

/** The URL holds a password, so it is not repeated. */
function refuse(fault: string, cause?: unknown): never {
  throw new PurserError('invalid_configuration', `the database's URL: ${fault}`, {
    exitCode: exitCodes.configuration,
    cause,
  });
}

type FileName = 'sslrootcert' | 'sslcert' | 'sslkey';
type Files = Readonly<Partial<Record<FileName, string>>>;

/**
 * The files that parameters name, also where TLS is off. Each is parsed here: a driver would do so with every
 * connection, and throw where nothing catches it. `system` names the authorities of the machine, Node's default.
 */
function readFiles(given: ReadonlyMap<string, string>): Files {
  const [cert, key] = [given.get('sslcert'), given.get('sslkey')];
  if ((cert === undefined) !== (key === undefined)) {
    refuse('sslcert and sslkey belong together, and only one of them is given');
  }
  const root = given.get('sslrootcert');
  const files: Partial<Record<FileName, string>> = {};
  if (root !== undefined && root !== 'system') {
    files.sslrootcert = readFile('sslrootcert', root, assertCertificates);
  }
  if (cert === undefined || key === undefined) return files;
  files.sslcert = readFile('sslcert', cert, (text) => createSecureContext({ cert: text }));
  files.sslkey = readFile('sslkey', key, (text) => createSecureContext({ key: text }));
  try {
    createSecureContext({ cert: files.sslcert, key: files.sslkey });
  } catch (error) {
    refuse(`sslkey is not the key of sslcert (${codeOf(error)})`, error);
  }
  return files;
}

const needs: Readonly<Record<FileName, string>> = {
  sslrootcert: 'a list of certificates in PEM form',
  sslcert: 'a certificate in PEM form',
  sslkey: 'a private key in PEM form without a passphrase',
};

function readFile(name: FileName, path: string, parse: (text: string) => unknown): string {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    refuse(`${name} cannot be read: ${codeOf(error)}`, error);
  }
  try {
    parse(text);
  } catch (error) {
    refuse(`${name} names a file that is not ${needs[name]} (${codeOf(error)})`, error);
  }
  return text;
}

/** Bundles that were parsed: a hundred certificates take as many pools as there are for half a second. */
const sound = new Set<string>();

/** A context skips whatever is no certificate, and would trust nothing, or less than the file says. */
function assertCertificates(text: string): void {
  if (sound.has(text)) return;
  const blocks = text.split(/(?=-----BEGIN )/).filter((block) => /^-----BEGIN .*CERT/.test(block));
  // Without a block the error is that of the text.
  const parsed = (blocks.length === 0 ? [text] : blocks).map((block) => new X509Certificate(block));
  if (parsed.length > 0) sound.add(text);
}

function tlsOf(
  host: string,
  mode: string,
  verify: boolean | undefined,
  root: string | undefined,
  files: Files,
): ConnectionOptions {
  // libpq: `require` with an authority's file is `verify-ca`, which checks the issuer, not the host name.
  const checksName = verify ?? (mode === 'verify-full' || root === 'system');
  const checks = verify ?? (mode.startsWith('verify-') || root !== undefined);
  const { sslrootcert: ca, sslcert: cert, sslkey: key } = files;
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
