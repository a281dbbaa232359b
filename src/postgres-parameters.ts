/**
 * The parameters of a Postgres URL. Those that are not read are accepted only with values that ask for what Purser does
 * anyway: a wish that is dropped is a connection in clear that libpq would refuse, or tables in another schema.
 */
import { authorityOf, parametersOf, parameterText } from './url-text.ts';

/** The words of `sslmode`. */
export const sslModes: readonly string[] = [
  'disable',
  'allow',
  'prefer',
  'require',
  'no-verify',
  'verify-ca',
  'verify-full',
];

/** Parameters that `postgresAddress` reads. */
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
  'connect_timeout',
];

/** Parameters that stand for a part of the URL, or name a file: an empty one would replace it by a default. */
const neverEmpty = new Set(read.filter((name) => name !== 'ssl' && name !== 'sslmode'));

interface Accepted {
  readonly values: RegExp;
  /** What to do where another value was meant. */
  readonly instead: string;
}

const word = (values: RegExp, instead = 'remove it'): Accepted => ({ values, instead });
/** Of the pool of another client: Purser's numbers of connections are in docs/deployment.md. */
const otherPool = word(/^\d{1,9}$/, 'it is no whole number; remove it');

const accepted: ReadonlyMap<string, Accepted> = new Map([
  [
    'channel_binding',
    word(
      /^(disable|prefer)$/,
      'no driver for Node refuses a connection without it; remove it, and use sslmode=verify-full, ' +
        'which proves the server by its certificate',
    ),
  ],
  [
    'client_encoding',
    word(/^(utf-?8|unicode)$/i, 'every connection of Purser is in UTF8; remove it'),
  ],
  ['connection_limit', otherPool],
  // A name for sessions that have none; all of Purser's have one.
  ['fallback_application_name', word(/./)],
  [
    'gssencmode',
    word(
      /^(disable|prefer)$/,
      'no driver for Node has GSSAPI; remove it, and encrypt with sslmode',
    ),
  ],
  ['keepalives', word(/^1$/, 'every connection of Purser is kept alive; remove it')],
  // Whether there is a pooler is found out.
  ['pgbouncer', word(/^(true|false)$/, 'it is neither true nor false; remove it')],
  ['pool_timeout', otherPool],
  ['schema', word(/^public$/, "Purser's tables are in the schema public; remove it")],
  ['sslsni', word(/^1$/)],
  ['statement_cache_size', otherPool],
  ['target_session_attrs', word(/^(any|primary|read-write)$/)],
  // sslmode means what it means in libpq.
  ['uselibpqcompat', word(/^true$/)],
]);

/** Names that no connection takes from a URL, because Purser finds its own sessions by theirs. */
const ownName = 'sessions of Purser have names of their own, such as purser worker; remove it';

const defaultConnectTimeoutS = 10;

/** In seconds. A start gives up an attempt after a minute at most. */
export const connectTimeoutOf = (given: ReadonlyMap<string, string>): number =>
  Number(given.get('connect_timeout') ?? defaultConnectTimeoutS);

/** What is wrong with a parameter; `names` are those of all parameters. */
export function parameterFault(
  name: string,
  value: string,
  names: readonly string[],
): string | undefined {
  const known = accepted.get(name);
  if (name === 'application_name') return `the parameter ${name} is not supported: ${ownName}`;
  if (known === undefined && !read.includes(name)) {
    return `${parameterText(name, value, names)} is not supported; remove it`;
  }
  if (names.indexOf(name) < names.lastIndexOf(name)) return `the parameter ${name} is given twice`;
  if (known !== undefined && !known.values.test(value)) {
    return `the parameter ${name} is not supported with this value: ${known.instead}`;
  }
  if (name === 'connect_timeout' && !/^([1-9]|[1-5]\d|60)$/.test(value)) {
    return 'connect_timeout is not a whole number of seconds from 1 to 60';
  }
  if (value === '' && neverEmpty.has(name)) return `the parameter ${name} is empty; remove it`;
  return undefined;
}

/**
 * What is wrong with the variables of libpq that complete a URL; the fault completes `NAME ...`. They are the same for
 * both drivers, and no other variable of libpq or of a driver is read. A platform that sets PGSSLMODE expects TLS.
 */
export function libpqFaults(env: NodeJS.ProcessEnv) {
  const mode = env['PGSSLMODE'] ?? '';
  if (mode === '' || sslModes.includes(mode)) return [];
  return [{ name: 'PGSSLMODE', fault: `is none of ${sslModes.join(', ')}`, example: 'require' }];
}

/** A URL of Postgres with the parts that it lacks. Another text comes back as it is, for a message about it. */
export function completeUrl(text: string, env: NodeJS.ProcessEnv): string {
  const parts = /^postgres(?:ql)?:/i.test(text) ? authorityOf(text) : undefined;
  if (parts === undefined || parts.rest.includes('#')) return text;
  const given = new Set(parametersOf(parts.rest).map(([name]) => name));
  const [user = '', ...password] = (parts.login ?? '').split(':');
  const lacking: readonly (readonly [lacks: boolean, parameter: string, variable: string])[] = [
    [user === '' && !given.has('user'), 'user', 'PGUSER'],
    [password.join(':') === '' && !given.has('password'), 'password', 'PGPASSWORD'],
    [!/^\/[^?]/.test(parts.rest) && !given.has('dbname'), 'dbname', 'PGDATABASE'],
    [!given.has('sslmode') && !given.has('ssl'), 'sslmode', 'PGSSLMODE'],
  ];
  const added = lacking.flatMap(([lacks, parameter, variable]) => {
    const value = env[variable] ?? '';
    return lacks && value !== '' ? [`${parameter}=${encodeURIComponent(value)}`] : [];
  });
  if (added.length === 0) return text;
  const separator = parts.rest.includes('?') ? '&' : '?';
  return `${text}${separator}${added.join('&')}`;
}
