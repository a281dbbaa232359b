/**
 * Every setting of a session that changes what a statement means, what its result looks like, or whether it is run.
 * A role, a database or the server may set another value, so each connection sends these at its start. A pooler
 * accepts only some of them: there tenant transactions set them locally, and other statements are refused at the
 * start of a process whose sessions have another value.
 */
export interface SessionSetting {
  readonly name: string;
  readonly value: string;
  /** Values that do no harm where `value` cannot be sent. Default: `value` only. */
  readonly accepts?: RegExp;
  /** PgBouncer accepts it at the start of a connection, and restores it for each client. */
  readonly pooled?: boolean;
  /** First major version that has it; older servers refuse a connection that names it. Default: all. */
  readonly since?: number;
  /** Only a superuser may set it, so it is never sent. */
  readonly superuser?: boolean;
}

const any = /^/;

export const sessionSettings: readonly SessionSetting[] = [
  { name: 'client_encoding', value: 'UTF8', pooled: true },
  { name: 'datestyle', value: 'ISO, MDY', pooled: true, accepts: /^ISO,/ },
  { name: 'timezone', value: 'UTC', pooled: true },
  { name: 'standard_conforming_strings', value: 'on', pooled: true },
  { name: 'intervalstyle', value: 'postgres' },
  { name: 'timezone_abbreviations', value: 'Default' },
  { name: 'bytea_output', value: 'hex' },
  { name: 'extra_float_digits', value: '1', accepts: /^[123]$/ },
  { name: 'search_path', value: 'public', accepts: /^("\$user", ?)?public$/ },
  { name: 'role', value: 'none' },
  { name: 'statement_timeout', value: '0', accepts: any },
  { name: 'lock_timeout', value: '0', accepts: any },
  { name: 'idle_in_transaction_session_timeout', value: '0', accepts: any },
  { name: 'idle_session_timeout', value: '0', accepts: any },
  { name: 'transaction_timeout', value: '0', accepts: any, since: 17 },
  { name: 'default_transaction_isolation', value: 'read committed' },
  { name: 'default_transaction_deferrable', value: 'off' },
  { name: 'row_security', value: 'on' },
  { name: 'session_replication_role', value: 'origin', superuser: true },
  { name: 'array_nulls', value: 'on' },
  { name: 'transform_null_equals', value: 'off' },
  { name: 'quote_all_identifiers', value: 'off' },
  { name: 'check_function_bodies', value: 'on', accepts: any },
  { name: 'exit_on_error', value: 'off' },
  { name: 'gin_fuzzy_search_limit', value: '0' },
  { name: 'client_min_messages', value: 'notice', accepts: /^(debug\d|log|notice|warning)$/ },
  // Otherwise the values of parameters, a token among them, are part of error messages.
  { name: 'log_parameter_max_length_on_error', value: '0' },
  { name: 'lc_monetary', value: 'C', accepts: any },
  { name: 'lc_numeric', value: 'C', accepts: any },
  { name: 'lc_time', value: 'C', accepts: any },
  { name: 'xmlbinary', value: 'base64' },
  { name: 'xmloption', value: 'content' },
];

export const superuserSettings = sessionSettings.filter(({ superuser }) => superuser === true);

/** These are not sent: an administrator, or a server whose disk is full, sets them on purpose. */
export const keptSettings = ['default_transaction_read_only', 'synchronous_commit'];

/** `serverVersion`: undefined where it is not known yet. */
function settingsFor(through: 'server' | 'pooler', serverVersion = 0): readonly SessionSetting[] {
  return sessionSettings.filter(
    ({ superuser, pooled, since = 0 }) =>
      superuser !== true && since <= serverVersion && (through === 'server' || pooled === true),
  );
}

/** What a connection sends at its start. */
export function startupParameters(
  through: 'server' | 'pooler',
  serverVersion?: number,
): Record<string, string> {
  const settings = settingsFor(through, serverVersion);
  return Object.fromEntries(settings.map(({ name, value }) => [name, value]));
}

/** The same as `options` of libpq, with `changed` in place of some. */
export function startupOptions(
  serverVersion: number | undefined,
  changed: Readonly<Record<string, string>> = {},
): string {
  return Object.entries({ ...startupParameters('server', serverVersion), ...changed })
    .map(([name, value]) => `-c ${name}=${value.replaceAll(/[\\ ]/g, String.raw`\$&`)}`)
    .join(' ');
}

/** For the beginning of a transaction behind a pooler. The values are of this file. */
export function setLocalStatements(serverVersion: number): string {
  return settingsFor('server', serverVersion)
    .filter(({ pooled }) => pooled !== true)
    .map(({ name, value }) => `set local ${name} = '${value}'`)
    .join('; ');
}
