/** The files that a Postgres URL names are parsed with the settings: a driver would do so with every connection, and throw. */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/config.ts';
import { messageOf } from '../../src/errors.ts';
import { postgresAddress } from '../../src/tls.ts';
import { runCli } from '../support/process.ts';
import { makeCertificate } from './certificate.ts';
import type { Certificate } from './certificate.ts';

let own: Certificate;
let other: Certificate;
/** Name of a file in the table to its path. */
let paths: Readonly<Record<string, string>>;

beforeAll(async () => {
  own = await makeCertificate();
  other = await makeCertificate();
  const at = (name: string, text: string | Buffer): string => {
    const path = join(dirname(own.certificate), name);
    writeFileSync(path, text);
    return path;
  };
  const pem = readFileSync(own.certificate, 'utf8');
  const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: 'pipe' });
  paths = {
    CERT: own.certificate,
    KEY: own.key,
    OTHER_KEY: other.key,
    NONE: '/nowhere/CANARY',
    FOLDER: dirname(own.certificate),
    EMPTY: at('empty.pem', ''),
    TEXT: at('text.pem', 'root:x:0:0:CANARY\n'),
    DAMAGED: at('damaged.pem', `${pem}${pem.replace(/\n.{8}/, '\nCANARY!!')}`),
    CUT: at('cut.pem', `${pem}${pem.slice(0, 200)}`),
    BUNDLE: at('bundle.pem', `# own\n${pem}\n# again\n${pem}`),
    BOTH: at('both.pem', `${pem}${readFileSync(own.key, 'utf8')}`),
    DER: at('cert.der', openssl('x509', '-in', own.certificate, '-outform', 'der')),
    LOCKED_KEY: at(
      'locked.pem',
      openssl('pkcs8', '-topk8', '-in', own.key, '-passout', 'pass:CANARY'),
    ),
  };
});
afterAll(async () => {
  await own.remove();
  await other.remove();
});

const variables = ['DATABASE_URL', 'TENANT_DATABASE_URL', 'DATABASE_DIRECT_URL'];
const withFiles = (query: string): string =>
  `postgres://u:p@127.0.0.1:1/d?${query.replaceAll(/[A-Z_]+/g, (name) => encodeURIComponent(paths[name] ?? name))}`;

const refused: readonly (readonly [string, RegExp])[] = [
  ['sslrootcert=NONE', /sslrootcert cannot be read: ENOENT/],
  ['sslrootcert=FOLDER', /sslrootcert cannot be read: EISDIR/],
  ['sslrootcert=EMPTY', /sslrootcert names a file that is not a list of certificates in PEM form/],
  ['sslrootcert=TEXT', /sslrootcert names a file that is not a list of certificates/],
  ['sslrootcert=KEY', /sslrootcert names a file that is not a list of certificates/],
  ['sslrootcert=DER', /sslrootcert names a file that is not a list of certificates/],
  ['sslrootcert=DAMAGED', /sslrootcert names a file that is not a list of certificates/],
  ['sslrootcert=CUT', /sslrootcert names a file that is not a list of certificates/],
  ['sslcert=NONE&sslkey=KEY', /sslcert cannot be read: ENOENT/],
  ['sslcert=CERT&sslkey=NONE', /sslkey cannot be read: ENOENT/],
  ['sslcert=TEXT&sslkey=TEXT', /sslcert names a file that is not a certificate in PEM form/],
  ['sslcert=DER&sslkey=KEY', /sslcert names a file that is not a certificate/],
  ['sslcert=CERT&sslkey=TEXT', /sslkey names a file that is not a private key in PEM form/],
  ['sslcert=CERT&sslkey=CERT', /sslkey names a file that is not a private key/],
  ['sslcert=CERT&sslkey=LOCKED_KEY', /sslkey names a file that is not .* without a passphrase/],
  ['sslcert=CERT&sslkey=OTHER_KEY', /sslkey is not the key of sslcert/],
  ['sslcert=CERT', /sslcert and sslkey belong together/],
  ['sslkey=KEY', /sslcert and sslkey belong together/],
];
/** Also where TLS is off by the URL: DATABASE_TLS_VERIFY may turn it on. */
const modes = ['', 'sslmode=require&', 'sslmode=verify-full&', 'sslmode=disable&'];

describe.each(refused)('%s', (query, fault) => {
  it('is refused with the settings, by the names of variable and parameter', () => {
    for (const variable of variables) {
      for (const mode of modes) {
        const seen = (() => {
          try {
            return loadConfig({ [variable]: withFiles(`${mode}${query}`) });
          } catch (error) {
            return error;
          }
        })();
        expect(seen).toMatchObject({ code: 'invalid_configuration', exitCode: 78 });
        expect(messageOf(seen)).toMatch(fault);
        expect(messageOf(seen)).toContain(`${variable} cannot be used`);
        expect(messageOf(seen)).not.toContain('CANARY');
      }
    }
  });
});

it.each(['sslrootcert=BUNDLE', 'sslcert=CERT&sslkey=KEY'])(
  '%s without sslmode is refused',
  (query) => {
    const load = () => loadConfig({ DATABASE_URL: withFiles(query) });
    expect(load).toThrow(/no sslmode, so nothing would be encrypted; add sslmode=verify-full/);
  },
);

it.each([
  ['sslmode=require&sslrootcert=BUNDLE', ['ca']],
  ['sslmode=verify-full&sslrootcert=CERT&sslcert=CERT&sslkey=KEY', ['ca', 'cert', 'key']],
  ['sslmode=require&sslcert=BOTH&sslkey=BOTH', ['cert', 'key']],
  ['sslmode=verify-full&sslrootcert=system', []],
])('%s is accepted', (query, names) => {
  const { tls } = postgresAddress(withFiles(query), undefined);
  expect(Object.keys(tls).filter((name) => /^(ca|cert|key)$/.test(name))).toEqual(names);
});

it.each([
  [['migrate', 'status']],
  [['doctor']],
  [['start', 'scheduler']],
  [['start', 'worker']],
  [['start', 'web']],
  [['start', 'all']],
])('%j ends with 78, without a stack and without a repetition', async (args) => {
  const env = { DATABASE_URL: withFiles('sslmode=require&sslcert=TEXT&sslkey=TEXT'), PORT: '0' };
  const { code, stdout, stderr } = await runCli(args, { env });
  expect([code, stdout]).toEqual([78, '']);
  expect(stderr).toMatch(/DATABASE_URL cannot be used.*sslcert names a file/);
  expect(stderr).not.toMatch(/\n\s+at |startup_step|CANARY/);
});
