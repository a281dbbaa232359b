/** Where the servers of the configuration are, for messages: variable, host and port, never a login. */
import type { Config } from '../../config.ts';
import { postgresAddress } from '../../tls.ts';

const databaseVariables = ['DATABASE_URL', 'DATABASE_DIRECT_URL', 'TENANT_DATABASE_URL'] as const;

export type StoreVariable = (typeof databaseVariables)[number] | 'REDIS_URL';

/** The variables whose servers a process may use. */
export type StoreConfig = Pick<Config, StoreVariable>;

function hostOf(config: StoreConfig, variable: StoreVariable): readonly [string, string] {
  const url = config[variable] ?? '';
  if (variable !== 'REDIS_URL') {
    const { host, port } = postgresAddress(url, false);
    return host.startsWith('/') ? [`${host}/.s.PGSQL.${port}`, ''] : [host, `:${port}`];
  }
  const { hostname, port } = new URL(url);
  return [hostname.replace(/^\[|\]$/g, ''), `:${port === '' ? '6379' : port}`];
}

/** `host:port`, an IPv6 address in brackets, or the path of a socket; undefined where the variable is not set. */
export function placeOf(config: StoreConfig, variable: string): string | undefined {
  const known = isStoreVariable(variable) && config[variable] !== undefined ? variable : undefined;
  if (known === undefined) return undefined;
  const [host, port] = hostOf(config, known);
  return `${host.includes(':') && port !== '' ? `[${host}]` : host}${port}`;
}

const isStoreVariable = (name: string): name is StoreVariable =>
  name === 'REDIS_URL' || databaseVariables.some((known) => known === name);

const storeName = (variable: string): 'Redis' | 'Postgres' =>
  variable === 'REDIS_URL' ? 'Redis' : 'Postgres';

/** `Redis at host:6379 (REDIS_URL)`. */
export function storeText(config: StoreConfig, variable: string): string {
  const place = placeOf(config, variable);
  return `${storeName(variable)}${place === undefined ? '' : ` at ${place}`} (${variable})`;
}

/**
 * The variable whose server the error is about: the one whose host and port, or only port where it is the only one with
 * it, the driver's error has; otherwise `usual`.
 */
export function blamedVariable(config: StoreConfig, error: unknown, usual: string): string {
  const seen = new Set(placesIn(error));
  if (seen.size === 0 || seen.has(placeOf(config, usual) ?? '')) return usual;
  const set = [...databaseVariables, 'REDIS_URL' as const].filter(
    (variable) => config[variable] !== undefined,
  );
  const whole = set.find((variable) => seen.has(placeOf(config, variable) ?? ''));
  if (whole !== undefined) return whole;
  const byPort = set.filter((variable) => seen.has(hostOf(config, variable)[1]));
  return byPort.length === 1 ? (byPort[0] ?? usual) : usual;
}

/** Every `host:port`, `:port` and path of a socket that a connection error names, those of its parts included. */
function placesIn(error: unknown): string[] {
  if (!(error instanceof Error)) return [];
  const parts: unknown[] = error instanceof AggregateError ? error.errors : [];
  const field = (name: string): string => String(Reflect.get(error, name) ?? '');
  const port = field('port');
  const host = field('address') || field('hostname');
  const name = host.includes(':') ? `[${host}]` : host;
  const own = host === '' ? [] : port === '' ? [name] : [`${name}:${port}`, `:${port}`];
  const [, written = ''] = /CONNECT(?:ION)?_\w+ (\S+)$/.exec(error.message) ?? [];
  return [...own, ...(written === '' ? [] : [written]), ...parts.flatMap(placesIn)];
}
