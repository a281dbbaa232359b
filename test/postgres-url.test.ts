/** Every form of a Postgres URL is honoured or refused with exit code 78, the same for both drivers. */
import { expect, it } from 'vitest';
import { postgresAddress } from '../src/tls.ts';

const at = { host: 'h', port: 5432, user: 'u', password: 'p', database: 'd', tls: false };
const unchecked = { rejectUnauthorized: false };
const checked = { rejectUnauthorized: true };
const url = (query: string): string => `postgres://u:p@h/d${query === '' ? '' : `?${query}`}`;

const honoured: readonly (readonly [string, object])[] = [
  [url(''), at],
  ['postgresql://u:p@h:6543/d', { ...at, port: 6543 }],
  ['postgres://h', { host: 'h', port: 5432, tls: false }],
  ['postgres://u:p@[::1]/d', { ...at, host: '::1' }],
  ['postgres://u:p@[2001:db8::1]:6543/d', { ...at, host: '2001:db8::1', port: 6543 }],
  ['postgres://u:p@%2Fvar%2Frun%2Fpostgresql/d', { ...at, host: '/var/run/postgresql' }],
  ['postgres://u:p@%2Frun/d?sslmode=require', { ...at, host: '/run', tls: false }],
  ['postgres:///d?host=/run&user=u&password=p', { ...at, host: '/run' }],
  ['postgres:///?host=h&port=6543&user=u&password=p&dbname=d', { ...at, port: 6543 }],
  [
    'postgres://u%40x:p%2F%3A%25@h/d%20e',
    { ...at, user: 'u@x', password: 'p/:%', database: 'd e' },
  ],
  [url('sslmode=disable'), at],
  [url('sslmode=allow'), { ...at, tls: unchecked }],
  [url('sslmode=prefer'), { ...at, tls: unchecked }],
  [url('sslmode=require'), { ...at, tls: unchecked }],
  [url('sslmode=no-verify'), { ...at, tls: unchecked }],
  [url('sslmode=verify-ca'), { ...at, tls: checked }],
  [url('sslmode=verify-full'), { ...at, tls: checked }],
  [url('ssl=true'), { ...at, tls: checked }],
  [url('ssl=1'), { ...at, tls: checked }],
  [url('ssl=on'), { ...at, tls: checked }],
  [url('ssl=require'), { ...at, tls: unchecked }],
  [url('ssl=prefer'), { ...at, tls: unchecked }],
  [url('ssl=no-verify'), { ...at, tls: unchecked }],
  [url('ssl=verify-ca'), { ...at, tls: checked }],
  [url('ssl=verify-full'), { ...at, tls: checked }],
  [url('ssl=false'), at],
  [url('ssl=0'), at],
  [url('ssl=true&sslmode=require'), { ...at, tls: unchecked }],
  [url('sslmode=require&channel_binding=require'), { ...at, tls: unchecked }],
  [url('pgbouncer=true&connection_limit=1'), at],
  [url('schema=public&connect_timeout=5&application_name=x'), at],
  [url('target_session_attrs=read-write'), at],
];

const refused: readonly (readonly [string, RegExp])[] = [
  ['postgres://u:p@a,b/d', /several hosts/],
  ['postgres://u:p@a:1,b:2/d', /several hosts/],
  ['postgres:///d?host=a,b', /several hosts/],
  [url('sslmode=foo'), /sslmode is none of/],
  [url('sslmode='), /sslmode is none of/],
  [url('sslmode=Require'), /sslmode is none of/],
  [url('ssl=maybe'), /ssl is none of/],
  [url('ssl='), /ssl is none of/],
  [url('ssl=false&sslmode=require'), /contradict/],
  [url('ssl=true&sslmode=disable'), /contradict/],
  [url('sslmode=disable&sslmode=require'), /given twice/],
  [url('sslcrl=/x'), /sslcrl is not supported/],
  [url('sslnegotiation=direct'), /sslnegotiation is not supported/],
  [url('target_session_attrs=standby'), /target_session_attrs is not supported/],
  [url('options=-c%20datestyle%3DSQL'), /options is not supported/],
  [url('search_path=x'), /search_path is not supported/],
  [url('hostaddr=10.0.0.1'), /hostaddr is not supported/],
  [url('service=x'), /service is not supported/],
  ['postgres://u:%zz@h/d', /%25/],
  ['mysql://u:p@h/d', /not a URL such as/],
  ['h:5432/d', /not a URL such as/],
];

it.each(honoured)('%s is honoured', (text, address) => {
  expect(postgresAddress(text, undefined)).toMatchObject(address);
});

it.each(refused)('%s is refused', (text, message) => {
  expect(() => postgresAddress(text, undefined)).toThrow(
    expect.objectContaining({
      code: 'invalid_configuration',
      exitCode: 78,
      message: expect.stringMatching(message),
    }),
  );
  expect(() => postgresAddress(text, true)).toThrow(/database's URL/);
});

it('prints how many forms these are, and repeats no password in an error', () => {
  process.stderr.write(
    `  URLs of Postgres: ${honoured.length} forms honoured, ${refused.length} refused\n`,
  );
  expect(() => postgresAddress('postgres://u:geheim@a,b/d', undefined)).toThrow(/^(?!.*geheim)/);
});
