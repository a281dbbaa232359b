/** Addresses in the configuration: accepted as the connections accept them, refused before the first of them is made. */
import { describe, expect, it } from 'vitest';
import { loadConfig } from '../src/config.ts';
import type { PurserError } from '../src/errors.ts';
import { postgresAddress } from '../src/tls.ts';

function faultsOf(env: NodeJS.ProcessEnv): PurserError {
  try {
    loadConfig(env);
  } catch (error) {
    return error as PurserError;
  }
  throw new Error('the configuration was accepted');
}

it.each([
  'postgres://user@localhost/purser?host=/run/postgresql',
  'postgres:///purser?host=/run/postgresql&user=app',
  'postgres://user@[::1]:5432/purser',
  'postgres:///?host=db&dbname=purser',
  'postgres://user:password@/purser?host=/run/postgresql&port=5433',
])('accepts DATABASE_URL=%s, as the connections do', (text) => {
  expect(loadConfig({ DATABASE_URL: text }).DATABASE_URL).toBe(text);
});

it.each([
  ['postgres://user@localhost', 'a database name'],
  ['mysql://user@localhost/purser', 'a URL such as postgres://'],
  ['postgres://user@one,two/purser', 'several hosts are not supported'],
  ['postgres://user@localhost/purser?sslmode=foo', 'sslmode is none of'],
  ['postgres://user@localhost/purser?search_path=x', 'search_path is not supported'],
])('refuses DATABASE_URL=%s, as the connections would', (text, fault) => {
  const { message, exitCode } = faultsOf({ DATABASE_URL: text });
  expect(message).toMatch(/DATABASE_URL (is not a Postgres URL|cannot be used)/);
  expect(message).toContain(fault);
  expect(exitCode).toBe(78);
});

const libpq = { PGUSER: 'u@x', PGPASSWORD: 'p&/?', PGDATABASE: 'd', PGSSLMODE: 'no-verify' };

it.each([
  ['postgres://h', '?user=u%40x&password=p%26%2F%3F&dbname=d&sslmode=no-verify'],
  ['postgres://:@h/?', '&user=u%40x&password=p%26%2F%3F&dbname=d&sslmode=no-verify'],
  ['postgres://a@h/b', '?password=p%26%2F%3F&sslmode=no-verify'],
  ['postgres://a:b@h/c?sslmode=disable', ''],
  ['postgres://a:b@h/c?ssl=true', ''],
  ['postgres:///?host=/run&user=a&password=b&dbname=c&ssl=1', ''],
])('completes %s by the variables of libpq', (text, added) => {
  for (const name of ['DATABASE_URL', 'TENANT_DATABASE_URL', 'DATABASE_DIRECT_URL'] as const) {
    expect(loadConfig({ ...libpq, [name]: text })[name]).toBe(text + added);
    expect(loadConfig({ [name]: `${text}${added}`, PGUSER: '' })[name]).toBe(text + added);
  }
});

it('completes to what a connection uses', () => {
  const { DATABASE_URL: url = '' } = loadConfig({ ...libpq, DATABASE_URL: 'postgres://h:6543' });
  expect(postgresAddress(url, undefined)).toMatchObject({
    host: 'h',
    port: 6543,
    user: 'u@x',
    password: 'p&/?',
    database: 'd',
    tls: { rejectUnauthorized: false },
  });
});

it('refuses a PGSSLMODE that libpq does not have, by its own name', () => {
  const { message, exitCode } = faultsOf({ DATABASE_URL: 'postgres://u@h/d', PGSSLMODE: 'on' });
  expect(message).toMatch(/PGSSLMODE is none of disable, .*Example: PGSSLMODE=require/);
  expect(message).not.toContain('DATABASE_URL');
  expect(exitCode).toBe(78);
});

it.each([
  ['redis://127.0.0.1:6379/zero', 'has a path that is not the number of a database'],
  ['redis://127.0.0.1:6379/-1', 'has a path that is not the number of a database'],
  ['redis://127.0.0.1:6379/0/1', 'has a path that is not the number of a database'],
  ['redis:///var/run/redis.sock', 'names no host'],
  ['redis://us%ZZer:password@127.0.0.1', 'has a % that is not followed by two hexadecimal digits'],
  ['redis://user:pass%word@127.0.0.1', 'has a % that is not followed by two hexadecimal digits'],
  ['redis:127.0.0.1:6379', 'is not a Redis URL'],
  [' redis://127.0.0.1', 'has a blank at its start or end'],
  ['redis://127.0.0.1:99999', 'has a port that is not a whole number'],
  ['redis://127.0.0.1:0', 'has a port that is not a whole number'],
  ['redis://127.0.0.1:0x1', 'has a port that is not a whole number'],
  ['redis://127.0.0.1:63 79', 'has a port that is not a whole number'],
  ['redis:/127.0.0.1', 'is not a Redis URL'],
  ['redis://one,two', 'names several hosts'],
  ['redis://%2Fvar%2Frun%2Fredis.sock', 'has a % in its host'],
  ['redis://127.0.0.1/0\n', 'has a control character'],
  ['redis://us\u0000er@127.0.0.1', 'has a control character'],
  ['redis://:pass%00word@127.0.0.1', 'has an encoded control character'],
  ['redis://:1/x@127.0.0.1', 'has a / ? or # before an @'],
  ['redis://:1?x@127.0.0.1', 'has a / ? or # before an @'],
  ['redis://:1#x@127.0.0.1', 'has a / ? or # before an @'],
  ['redis://127.0.0.1?password=a&b', 'has a parameter whose name is not shown'],
  ['redis://127.0.0.1?a.b=1', 'has a parameter whose name is not shown'],
  // The client would send no login, and the server would take it for the default user.
  ['redis://ZZer@127.0.0.1', 'has a user and no password'],
  ['redis://ZZer:@127.0.0.1', 'has a user and no password'],
  ['redis://app%3AZZer@127.0.0.1', 'has a user and no password'],
  ['redis+sentinel://127.0.0.1', 'is not a Redis URL'],
  ['redis://127.0.0.1/0#x', 'has a fragment'],
  ['redis://127.0.0.1#', 'has a fragment'],
  // The client would take each of these as one of its options, and the queues would not work, or work otherwise.
  ['redis://127.0.0.1?keyPrefix=x', 'has the parameter keyPrefix'],
  ['redis://127.0.0.1?db=3', 'has the parameter db'],
  ['redis://127.0.0.1?lazyConnect=true', 'has the parameter lazyConnect'],
  ['redis://127.0.0.1?tls=true', 'has the parameter tls'],
  ['redis://127.0.0.1?family=5', 'has the parameter family'],
])('refuses REDIS_URL=%s, with which no command would work', (text, fault) => {
  const { message, exitCode } = faultsOf({ REDIS_URL: text });
  expect(message).toContain(`REDIS_URL ${fault}`);
  expect(message).not.toContain('ZZer');
  expect(exitCode).toBe(78);
});

it.each([
  'redis://127.0.0.1',
  'redis://default@127.0.0.1',
  'redis://:@127.0.0.1',
  'redis://:p%40ss@host:6379/',
  'rediss://user:p%25@[::1]:6379/15?family=6',
])('accepts REDIS_URL=%s', (text) => {
  expect(loadConfig({ REDIS_URL: text }).REDIS_URL).toBe(text);
});

describe.each(['OPENAI_BASE_URL', 'ANTHROPIC_BASE_URL', 'GOOGLE_BASE_URL'])('%s', (name) => {
  it.each([
    ['http://CANARY:CANARY@host/v1', 'contains a user or password'],
    ['http://CANARY@host/v1', 'contains a user or password'],
    ['https://host/v1?api-version=CANARY', 'has a query or fragment'],
    ['https://host/v1?', 'has a query or fragment'],
    ['https://host/v1#CANARY', 'has a query or fragment'],
    ['https://us:12/CANARY@host/v1', 'has a / ? or # before an @'],
    ['https://us:12?CANARY@host/v1', 'has a / ? or # before an @'],
    [' https://host/v1', 'has a blank at its start or end'],
    ['https://host/v1\n', 'has a control character'],
    ['https://ho\tst/v1', 'has a control character'],
    ['https://host/v1%00', 'has an encoded control character'],
    ['https://host/v1%', 'has a % that is not followed'],
    // A parser takes each of these for http://127.0.0.1/v1.
    ['http:127.0.0.1/v1', 'is not an http(s) URL'],
    ['http:/127.0.0.1/v1', 'is not an http(s) URL'],
    ['http:///127.0.0.1/v1', 'is not an http(s) URL'],
    ['http:\\\\127.0.0.1\\v1', 'is not an http(s) URL'],
    ['http://', 'is not an http(s) URL'],
    ['ftp://host/v1', 'is not an http(s) URL'],
    ['http://host:0/v1', 'has a port that is not a whole number'],
    ['http://host:99999/v1', 'has a port that is not a whole number'],
    ['https://host/v1/chat/completions', 'ends in the path of a request'],
    ['https://host/v1/chat/completions/', 'ends in the path of a request'],
    ['https://host/v1/completions', 'ends in the path of a request'],
    ['https://host/v1/messages', 'ends in the path of a request'],
    ['https://host/v1/Responses', 'ends in the path of a request'],
    ['https://host/v1/embeddings', 'ends in the path of a request'],
    ['https://host/v1/models/m:generateContent', 'ends in the path of a request'],
    ['https://host/v1/models/m:streamGenerateContent', 'ends in the path of a request'],
  ])('is refused as %j, to which no request could be sent', (text, fault) => {
    const { message } = faultsOf({ [name]: text });
    expect(message).toContain(`${name} ${fault}`);
    expect(message).not.toContain('CANARY');
  });

  it.each([
    'http://127.0.0.1:11434/v1/',
    'https://host/my-messages',
    'HTTP://host:/',
    'https://[::1]/v1',
    'https://b\u00fccher.example/a%3Fb',
  ])('is accepted as %s', (text) => {
    expect(loadConfig({ [name]: text })).toMatchObject({ [name]: text });
  });
});

it('GOOGLE_BASE_URL has no /models at its end; it may be the base of another protocol', () => {
  for (const text of [
    'https://host/v1beta/models',
    'https://host/v1beta/models/gemini-2.5-flash/',
  ]) {
    expect(faultsOf({ GOOGLE_BASE_URL: text }).message).toContain('ends in the path of a request');
  }
  const azure = 'https://host/models';
  expect(loadConfig({ OPENAI_BASE_URL: azure }).OPENAI_BASE_URL).toBe(azure);
});

it.each(['OPENAI_API_KEY', 'ANTHROPIC_API_KEY', 'GOOGLE_API_KEY'])('%s is a key alone', (name) => {
  const fault = (value: string) => faultsOf({ [name]: value }).message;
  for (const value of ['Bearer CANARY', 'bearer  CANARY', 'Bearer:CANARY']) {
    expect(fault(value)).toContain(`${name} begins with Bearer, which is added to it`);
    expect(fault(value)).not.toContain('CANARY');
  }
  expect(fault('sk CANARY')).toContain(`${name} must be printable ASCII text without blanks`);
  expect(fault('"CANARY"')).toContain(`${name} has a quote at an end`);
  expect(fault('sk CANARY')).not.toContain('CANARY');
  expect(loadConfig({ [name]: 'bearertoken-1=' })).toMatchObject({ [name]: 'bearertoken-1=' });
});
