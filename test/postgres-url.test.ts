/** Every form of a Postgres URL is honoured or refused with exit code 78, the same for both drivers. */
import { expect, it } from 'vitest';
import { postgresAddress } from '../src/tls.ts';

const login = { user: 'u', password: 'p', database: 'd' };
const at = { host: 'h', port: 5432, ...login, connectTimeoutS: 10, tls: false };
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
  // libpq's form of a socket, and the one that cloud providers print.
  ['postgres://u:p@/d?host=/run&port=6543', { ...at, host: '/run', port: 6543 }],
  ['postgres://u:p@:6543/d?host=/run', { ...at, host: '/run', port: 6543 }],
  ['postgres://u:p@h:/d', at],
  ['POSTGRES://u:p@h:05432/d?port=06543', { ...at, port: 6543 }],
  ['postgres://u:p@h?dbname=d', at],
  ['postgres://u:a+b@h/d', { ...at, password: 'a+b' }],
  ['postgres://u@h/d?password=a+b', { ...at, password: 'a+b' }],
  ['postgres://u@h/d?password=a/b?c:d', { ...at, password: 'a/b?c:d' }],
  ['postgres://u:a:b,c@h/d', { ...at, password: 'a:b,c' }],
  ['postgres://u:a@b@h/d', { ...at, password: 'a@b' }],
  ['postgres://u%40project.iam@h/d', { host: 'h', user: 'u@project.iam' }],
  ['postgres://u%3Ax:p@h/d', { ...at, user: 'u:x' }],
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
  [url('sslmode=require&channel_binding=prefer'), { ...at, tls: unchecked }],
  [url('channel_binding=disable&gssencmode=prefer'), at],
  [url('gssencmode=disable'), at],
  [url('sslrootcert=system'), { ...at, tls: checked }],
  [url('pgbouncer=true&connection_limit=1'), at],
  [url('pgbouncer=false&pool_timeout=0&statement_cache_size=100'), at],
  [url('schema=public&fallback_application_name=x&keepalives=1&sslsni=1'), at],
  [url('client_encoding=utf-8&uselibpqcompat=true'), at],
  [url('client_encoding=UTF8'), at],
  [url('connect_timeout=1'), { ...at, connectTimeoutS: 1 }],
  [url('connect_timeout=60'), { ...at, connectTimeoutS: 60 }],
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
  // libpq connects with neither, so they would be lost: the login and all data would travel in clear.
  [url('gssencmode=require'), /gssencmode is not supported.*encrypt with sslmode/],
  [url('sslmode=verify-full&gssencmode=require'), /gssencmode is not supported/],
  [url('channel_binding=require'), /channel_binding is not supported.*sslmode=verify-full/],
  [url('sslmode=require&channel_binding=require'), /channel_binding is not supported/],
  ...['', 'Require', 'on', 'x'].flatMap(
    (value) =>
      [
        [url(`gssencmode=${value}`), /gssencmode is not supported/],
        [url(`channel_binding=${value}`), /channel_binding is not supported/],
      ] as const,
  ),
  [url('options=-c%20datestyle%3DSQL'), /options is not supported/],
  [url('search_path=x'), /search_path is not supported/],
  [url('schema=x'), /schema is not supported.*in the schema public/],
  [url('schema=Public'), /schema is not supported/],
  [url('schema='), /schema is not supported/],
  ...['abc', '', '0', '-1', '1.5', '61', '300', '010', '%2B5', '1e1'].map(
    (value) => [url(`connect_timeout=${value}`), /connect_timeout is not a whole number/] as const,
  ),
  [url('client_encoding=SQL_ASCII'), /client_encoding is not supported.*UTF8/],
  [url('client_encoding=auto'), /client_encoding is not supported/],
  [url('application_name=x'), /application_name is not supported.*names of their own/],
  [url('keepalives=0'), /keepalives is not supported.*kept alive/],
  ...['keepalives_idle', 'keepalives_interval', 'keepalives_count', 'tcp_user_timeout'].map(
    (name) => [url(`${name}=5`), new RegExp(`${name} is not supported`)] as const,
  ),
  [url('sslsni=0'), /sslsni is not supported/],
  [url('uselibpqcompat=false'), /uselibpqcompat is not supported/],
  [url('pgbouncer=maybe'), /pgbouncer is not supported/],
  [url('connection_limit=many'), /connection_limit is not supported.*no whole number/],
  [url('hostaddr=10.0.0.1'), /hostaddr is not supported/],
  [url('service=x'), /service is not supported/],
  // The password would be a part of the user, which the server repeats.
  ['postgres://u@p@h/d', /no password, and a user with an @ or a colon.*%40/],
  ['postgres://u%3Ap@h/d', /no password, and a user with/],
  ['postgres://u@p:@h/d', /no password, and a user with/],
  ['postgres://h/d?user=u:p', /no password, and a user with/],
  ['postgres://h/d?user=u%3Ap', /no password, and a user with/],
  ['postgres://u:%zz@h/d', /%25/],
  ['mysql://u:p@h/d', /not a URL such as/],
  ['h:5432/d', /not a URL such as/],
  // A parser would cut the first letter of the name.
  ['postgres:d', /not a URL such as/],
  ['postgres:/h/d', /not a URL such as/],
  ['postgres://u:p@h x/d', /not a URL such as/],
  ['postgres://u:p@[::zz]/d', /not a URL such as/],
  ['postgres://u:p@/d', /names no host/],
  ['postgres://:5432/d', /names no host/],
  ['postgres://u:p@h/d#x', /fragment; write # as %23/],
  ['postgres://u:p@h/d#', /fragment; write # as %23/],
  ...['0', '65536', '99999', '-5', '5432.5', '0x1538', 'abc', '%20', '5432,5433', '1e3'].flatMap(
    (port) =>
      [
        [url(`port=${port}`), /port that is not a whole number from 1 to 65535/],
        [`postgres://u:p@/d?host=/run&port=${port}`, /whole number from 1 to 65535/],
        [`postgres://u:p@h:${port}/d`, /whole number from 1 to 65535|several hosts/],
        // The parameter would win.
        [`postgres://u:p@h:${port}/d?port=5432`, /whole number from 1 to 65535|several hosts/],
      ] as const,
  ),
  // Each would be replaced by a default: this machine, the user of the process, another port.
  ...['host', 'port', 'user', 'password', 'dbname', 'sslrootcert', 'sslcert', 'sslkey'].map(
    (name) => [url(`${name}=`), new RegExp(`the parameter ${name} is empty`)] as const,
  ),
  ['postgres://u:p@h/d?host', /the parameter host is empty/],
  ['postgres://u:p@h/d%00', /encoded control character/],
  ['postgres://u%00:p@h/d', /encoded control character/],
  ['postgres://u:p%0A@h/d', /encoded control character/],
  ['postgres://u:p@h%7F/d', /encoded control character/],
  [url('host=%00'), /encoded control character/],
  [url('application_name=a%1Fb'), /encoded control character/],
  [url('password=%ZZ'), /write % as %25/],
  [url('password=%FF'), /write % as %25/],
  ['postgres://u:p@h/d\n', /has a control character, such as a line feed/],
  ['postgres://u:p\t@h/d', /has a control character/],
  [' postgres://u:p@h/d', /blank at its start or end/],
  ['postgres://u:p@h/d ', /blank at its start or end/],
  [url('ssl=constructor'), /ssl is none of/],
  [url('sslmode=disable&sslrootcert=system'), /sslmode=disable and sslrootcert contradict/],
  [url('ssl=off&sslrootcert=system'), /contradict each other/],
  ['postgres://u:1/x@h/d', /percent-encoded \(\/ as %2F, \? as %3F, # as %23\)/],
  ['postgres://u:1?x@h/d', /percent-encoded/],
  ['postgres://u:1#x@h/d', /percent-encoded/],
  ['postgres://h/d?user=u@x', /an @ behind the host too \(as %40\)/],
  [url('password=a&b'), /name is not shown.*%26/],
  [url('a.b=c'), /name is not shown/],
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
