/**
 * The parameters of a Postgres URL. Those that are not read are accepted only with values that ask for what Purser does
 * anyway: a wish that is dropped is a connection in clear that libpq would refuse.
 */
import { parameterText } from './url-text.ts';

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
];

/** Parameters that stand for a part of the URL, or name a file: an empty one would replace it by a default. */
const neverEmpty = new Set(read.filter((name) => name !== 'ssl' && name !== 'sslmode'));

/** Parameters of other clients that change nothing here: Purser has its own value, or no driver for Node has it. */
const ignored = new Set(
  (
    'application_name client_encoding connect_timeout connection_limit fallback_application_name ' +
    'keepalives keepalives_count keepalives_idle keepalives_interval pgbouncer pool_timeout schema ' +
    'sslsni statement_cache_size tcp_user_timeout uselibpqcompat'
  ).split(' '),
);

interface Accepted {
  readonly values: RegExp;
  /** What to do where another value was meant. */
  readonly instead: string;
}

const accepted: ReadonlyMap<string, Accepted> = new Map(
  Object.entries({
    channel_binding: {
      values: /^(disable|prefer)$/,
      instead:
        'no driver for Node refuses a connection without it; remove it, and use sslmode=verify-full, ' +
        'which proves the server by its certificate',
    },
    gssencmode: {
      values: /^(disable|prefer)$/,
      instead: 'no driver for Node has GSSAPI; remove it, and encrypt with sslmode',
    },
    target_session_attrs: { values: /^(any|primary|read-write)$/, instead: 'remove it' },
  }),
);

/** What is wrong with a parameter; `names` are those of all parameters. */
export function parameterFault(
  name: string,
  value: string,
  names: readonly string[],
): string | undefined {
  const known = accepted.get(name);
  if (known === undefined && !read.includes(name) && !ignored.has(name)) {
    return `${parameterText(name, value, names)} is not supported; remove it`;
  }
  if (names.indexOf(name) < names.lastIndexOf(name)) return `the parameter ${name} is given twice`;
  if (known !== undefined && !known.values.test(value)) {
    return `the parameter ${name} is not supported with this value: ${known.instead}`;
  }
  if (value === '' && neverEmpty.has(name)) return `the parameter ${name} is empty; remove it`;
  return undefined;
}
