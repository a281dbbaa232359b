/**
 * The variables of libpq that complete a Postgres URL, for both drivers alike: it takes from them what a URL leaves
 * out, and a platform that sets PGSSLMODE expects TLS. No other variable of libpq or of a driver is read.
 */
import { sslModes } from './tls.ts';
import { authorityOf, parametersOf } from './url-text.ts';

/** What is wrong with the variables; the fault completes `NAME ...`. */
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
