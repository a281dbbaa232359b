import { once } from 'node:events';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { connect as connectTcp, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { prepareDatabase } from '../../src/cli/runtime/prepare-database.ts';
import { connect } from '../../src/db/connect.ts';
import type { Sql } from '../../src/db/connect.ts';
import { openDatabase } from '../../src/db/database.ts';
import { startEmbeddedPostgres } from '../../src/db/embedded/embedded.ts';
import type { EmbeddedPostgres } from '../../src/db/embedded/embedded.ts';
import { createLogger } from '../../src/log.ts';
import { openQueueBackend } from '../../src/queues/backend.ts';
import { emptyDatabase } from '../support/database.ts';
import { runCli } from '../support/process.ts';
import { makeCertificate } from './certificate.ts';
import type { Certificate } from './certificate.ts';

let certificate: Certificate;
let server: EmbeddedPostgres;
let observer: Sql;

beforeAll(async () => {
  certificate = await makeCertificate();
  const dataDir = await mkdtemp(join(tmpdir(), 'purser-tls-data-'));
  await chmod(dataDir, 0o711);
  server = await startEmbeddedPostgres({
    dataDir,
    durable: false,
    settings: {
      ssl: 'on',
      ssl_cert_file: certificate.certificate,
      ssl_key_file: certificate.key,
    },
  });
  await prepareDatabase({ url: server.url, tlsVerify: false });
  observer = connect(server.url, { max: 1, applicationName: 'observer' });
});

afterAll(async () => {
  await observer.end({ timeout: 5 });
  await server.stop();
  await certificate.remove();
});

/** Connects with an application name; resolves to whether the server reports that session as encrypted. */
type Driver = (url: string, verify: boolean | undefined) => Promise<boolean>;

async function isEncrypted(applicationName: string): Promise<boolean> {
  const rows = await observer<{ ssl: boolean }[]>`
    select ssl from pg_stat_ssl join pg_stat_activity using (pid)
    where starts_with(application_name, ${applicationName})`;
  expect(rows.length).toBeGreaterThan(0);
  return rows.every(({ ssl }) => ssl);
}

let sessions = 0;
const nextName = (): string => `tls session ${(sessions += 1)} end`;

const systemPool: Driver = async (url, tlsVerify) => {
  const applicationName = nextName();
  const database = await openDatabase({
    url,
    tenantUrl: undefined,
    tlsVerify,
    applicationName,
    systemConnections: 1,
    tenantConnections: 1,
  });
  try {
    await database.system`select 1`;
    await database.tenant.sessions.use(({ sql }) => sql`select 1`);
    return await isEncrypted(applicationName);
  } finally {
    await database.close();
  }
};

const queuePool: Driver = async (url, tlsVerify) => {
  const applicationName = nextName();
  const backend = openQueueBackend({
    databaseUrl: url,
    databaseTlsVerify: tlsVerify,
    workers: 0,
    fleetId: 'tls',
    applicationName,
    log: createLogger({ level: 'silent', role: 'test' }),
  });
  try {
    await backend.ping();
    return await isEncrypted(applicationName);
  } finally {
    await backend.close();
  }
};

describe.each([
  ['postgres.js', systemPool],
  ['pg', queuePool],
] as const)('TLS to a Postgres with a self-signed certificate, by %s', (_, open) => {
  const at = (query: string): string => `${server.url}${query === '' ? '' : `?${query}`}`;

  it.each([
    ['DATABASE_TLS_VERIFY=false is encrypted', '', false],
    ['DATABASE_TLS_VERIFY=false is encrypted whatever sslmode says', 'sslmode=verify-full', false],
    ['sslmode=require is encrypted', 'sslmode=require', undefined],
    ['ssl=require is encrypted', 'ssl=require', undefined],
    ['sslmode=no-verify is encrypted', 'sslmode=no-verify', undefined],
    [
      'parameters for libpq only are not sent to the server',
      'sslmode=require&channel_binding=prefer',
      undefined,
    ],
  ])('%s', async (__, query, verify) => {
    expect(await open(at(query), verify)).toBe(true);
  });

  it.each([
    ['without sslmode', ''],
    ['with sslmode=disable', 'sslmode=disable'],
  ])('%s and with no variable it is not encrypted', async (__, query) => {
    expect(await open(at(query), undefined)).toBe(false);
  });

  it.each([
    ['DATABASE_TLS_VERIFY=true', '', true],
    ['DATABASE_TLS_VERIFY=true beside sslmode=require', 'sslmode=require', true],
    ['sslmode=verify-full', 'sslmode=verify-full', undefined],
    ['ssl=verify-full', 'ssl=verify-full', undefined],
    ['ssl=1', 'ssl=1', undefined],
    ['sslmode=verify-ca', 'sslmode=verify-ca', undefined],
  ])('%s refuses it and names the setting', async (__, query, verify) => {
    await expect(open(at(query), verify)).rejects.toMatchObject({
      code: 'certificate_refused',
      message: expect.stringMatching(
        /Postgres is not trusted.*self-signed.*DATABASE_TLS_VERIFY=false/,
      ),
    });
  });

  it.each([
    ['DATABASE_TLS_VERIFY=true', '', true],
    ['sslmode=verify-full', 'sslmode=verify-full&', undefined],
    ['sslmode=require', 'sslmode=require&', undefined],
  ])('%s accepts it with its own authority as sslrootcert', async (__, query, verify) => {
    const root = encodeURIComponent(certificate.certificate);
    expect(await open(at(`${query}sslrootcert=${root}`), verify)).toBe(true);
  });

  it.each([
    ['an IPv6 address', '[::1]'],
    ['the folder of a socket', undefined],
  ])('%s is connected to', async (__, address) => {
    const to = new URL(server.url);
    const forward = createServer((client) => {
      const upstream = connectTcp(Number(to.port), to.hostname);
      client.pipe(upstream).pipe(client);
      for (const socket of [client, upstream]) socket.on('error', () => {});
    });
    const folder = await mkdtemp(join(tmpdir(), 'purser-socket-'));
    const host = address ?? encodeURIComponent(folder);
    forward.listen(
      address === undefined
        ? { path: join(folder, `.s.PGSQL.${to.port}`) }
        : { host: '::1', port: 0 },
    );
    await once(forward, 'listening');
    const bound = forward.address();
    const port = typeof bound === 'object' && bound !== null ? bound.port : to.port;
    try {
      expect(await open(server.url.replace(to.host, `${host}:${port}`), undefined)).toBe(false);
    } finally {
      forward.close();
      await rm(folder, { recursive: true, force: true });
    }
  });

  it('a host name that is not in the certificate is refused by verify-full, not by verify-ca', async () => {
    const root = `sslrootcert=${encodeURIComponent(certificate.certificate)}`;
    const named = server.url.replace('127.0.0.1', 'localhost');
    const url = (mode: string) => `${named}?sslmode=${mode}&${root}`;
    await expect(open(url('verify-full'), undefined)).rejects.toThrow(
      /is for another host.*localhost.*sslmode=verify-ca/,
    );
    expect(await open(url('verify-ca'), undefined)).toBe(true);
  });

  it('a server without TLS is refused, not used in the clear', async () => {
    const plain = await emptyDatabase();
    try {
      await expect(open(plain.url, false)).rejects.toMatchObject({
        code: 'tls_unavailable',
        message: expect.stringMatching(/Postgres was asked for TLS.*unset DATABASE_TLS_VERIFY/),
      });
    } finally {
      await plain.close();
    }
  });
});

describe('the commands, against a Postgres with a self-signed certificate', () => {
  const run = (env: Record<string, string>) =>
    runCli(['migrate', 'up'], { env: { DATABASE_URL: server.url, ...env } });

  it('migrate up refuses it with DATABASE_TLS_VERIFY=true and exits 69', async () => {
    const refused = await run({ DATABASE_TLS_VERIFY: 'true' });
    expect(refused.stderr).toMatch(/Postgres is not trusted.*DATABASE_TLS_VERIFY=false/);
    expect(refused.code).toBe(69);
  });

  it.each([
    ['migrate', 'status'],
    ['doctor', '--checklist'],
    ['tenants', 'list'],
  ])('%s %s says what is wrong with TLS, too', async (...args) => {
    const command = (url: string) => runCli(args, { env: { DATABASE_URL: url } });
    const refused = await command(`${server.url}?sslmode=verify-full`);
    expect(refused.stderr).toMatch(/Postgres is not trusted.*DATABASE_TLS_VERIFY=false/);
    const plain = await emptyDatabase();
    const none = await command(`${plain.url}?sslmode=require`);
    await plain.close();
    expect(none.stderr).toMatch(/Postgres was asked for TLS and did not answer in TLS.*sslmode/);
    expect([refused.code, none.code]).toEqual([69, 69]);
  });

  it('migrate up accepts it with =false, and with =true once its authority is known', async () => {
    expect(await run({ DATABASE_TLS_VERIFY: 'false' })).toMatchObject({ code: 0 });
    const known = { DATABASE_TLS_VERIFY: 'true', NODE_EXTRA_CA_CERTS: certificate.certificate };
    expect(await run(known)).toMatchObject({ code: 0 });
  });
});

it('names the parameter whose file cannot be read, with exit code 78', async () => {
  const url = `${server.url}?sslmode=verify-full&sslrootcert=/nowhere/ca.pem`;
  const { code, stderr } = await runCli(['jobs', 'list'], { env: { DATABASE_URL: url } });
  expect([code, stderr]).toEqual([
    78,
    expect.stringContaining(
      "DATABASE_URL cannot be used: the database's URL: sslrootcert cannot be read: ENOENT",
    ),
  ]);
});
