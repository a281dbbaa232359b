/** Downloads: each address is checked where it is connected to, and every limit ends the download with its reason. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { messageOf } from '../../src/errors.ts';
import { download } from '../../src/net/download.ts';
import type { DownloadOptions } from '../../src/net/download.ts';
import type { Admits } from '../../src/net/public-address.ts';
import { isPublicAddress } from '../../src/net/public-address.ts';
import { makeCertificate } from '../platform/certificate.ts';
import type { Certificate } from '../platform/certificate.ts';

let certificate: Certificate;
let server: Server;
let port: number;
let ca: string;
let folder: string;
const asked: string[] = [];

const text = 'a,b\n1,2\n';

const answers: Readonly<
  Record<string, (response: ServerResponse, request: IncomingMessage) => unknown>
> = {
  '/exports/costs.csv': (response) => response.end(text),
  '/gzip.csv': (response) => response.setHeader('content-encoding', 'gzip').end(gzipSync(text)),
  '/br': (response) => response.setHeader('content-encoding', 'br').end('x'),
  '/missing': (response) => response.writeHead(404).end('secret body'),
  '/to-file': (response) => response.writeHead(302, { location: '/exports/costs.csv' }).end(),
  '/to-other': (response) =>
    response.writeHead(302, { location: `https://127.0.0.2:${port}/exports/costs.csv` }).end(),
  '/to-name': (response) =>
    response.writeHead(307, { location: `https://localhost:${port}/exports/costs.csv` }).end(),
  '/to-http': (response) =>
    response.writeHead(301, { location: `http://127.0.0.1:${port}/exports/costs.csv` }).end(),
  '/to-file-scheme': (response) =>
    response.writeHead(301, { location: 'file:///etc/passwd' }).end(),
  '/to-itself': (response) => response.writeHead(302, { location: '/to-itself' }).end(),
  '/declared': (response) => response.writeHead(200, { 'content-length': 5_000 }).end('x'),
  '/endless': (response) => {
    const timer = setInterval(() => response.write('x'.repeat(100)), 5);
    response.once('close', () => clearInterval(timer));
  },
  '/cut': (response) => {
    response.writeHead(200, { 'content-length': 500 });
    response.write('a,b\n');
    setTimeout(() => response.destroy(), 50);
  },
  '/silent': (response) => response.write('a'),
};

beforeAll(async () => {
  certificate = await makeCertificate();
  ca = await readFile(certificate.certificate, 'utf8');
  folder = await mkdtemp(join(tmpdir(), 'purser-download-'));
  server = createServer({ cert: ca, key: await readFile(certificate.key) }, (request, response) => {
    const path = (request.url ?? '').split('?')[0] ?? '';
    asked.push(`${request.socket.localAddress} ${path}`);
    answers[path]?.(response, request);
  });
  await new Promise<void>((resolve) => server.listen(0, '0.0.0.0', resolve));
  // A server that listens on a port has such an address.
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion
  ({ port } = server.address() as AddressInfo);
});
afterAll(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  await certificate.remove();
  await rm(folder, { recursive: true, force: true });
});

/** Admits this server alone, in place of the internet. */
const here: Admits = (address) => address === '127.0.0.1';

async function get(path: string, options: DownloadOptions = {}): Promise<string> {
  const own = await mkdtemp(join(folder, 'one-'));
  return download(`https://127.0.0.1:${port}${path}`, own, { admits: here, ca, ...options });
}

const failure = (path: string, options: DownloadOptions = {}): Promise<string> =>
  get(path, options).then(
    () => 'downloaded',
    (error: unknown) => messageOf(error),
  );

it('stores the file under the last part of its path, behind a redirect too, and never its query', async () => {
  const path = await get('/to-file?X-Signature=canary');
  expect(path).toMatch(/\/to-file$/);
  expect(await readFile(path, 'utf8')).toBe(text);
  expect(await get('/exports/costs.csv?sig=canary')).toMatch(/\/costs\.csv$/);
  expect(await readFile(await get('/gzip.csv'))).toEqual(gzipSync(text));
});

it.each([
  ['/to-other', '127.0.0.2 is an address of a private network'],
  ['/to-http', 'only https: URLs are downloaded'],
  ['/to-file-scheme', 'only https: URLs are downloaded'],
  ['/to-itself', 'redirects more than 5 times'],
  ['/missing', 'answered 404'],
  ['/br', 'sends br; only gzip is unpacked'],
  ['/declared', 'the file has more than 1000 bytes'],
  ['/endless', 'the file has more than 1000 bytes'],
  ['/cut', 'the connection ended before the file did'],
  ['/silent', 'sent nothing for 0.2 s'],
])('%s is refused: %s', async (path, why) => {
  asked.length = 0;
  const limits = { maxBytes: 1_000, silenceMs: 200 };
  const said = await failure(`${path}?sig=canary`, { limits });
  expect(said).toContain(why);
  expect(said).not.toContain('canary');
  expect(asked.every((line) => line.startsWith('127.0.0.1 '))).toBe(true);
});

it('ends a download that lasts longer than its time, however steadily it sends', async () => {
  expect(await failure('/endless', { limits: { timeoutMs: 300 } })).toContain(
    'did not end within 0.3 s',
  );
});

it.each(['127.0.0.1', 'localhost', '[::1]', '[::ffff:127.0.0.1]', '2130706433', '0x7f.1'])(
  'connects to no address of a private network: %s',
  async (host) => {
    asked.length = 0;
    const started = download(`https://${host}:${port}/exports/costs.csv`, folder, { ca });
    await expect(started).rejects.toThrow('is an address of a private network');
    expect(asked).toEqual([]);
  },
);

it('checks the address that a name has, not the name, behind a redirect too', async () => {
  let looked = 0;
  // Admits the literal of the first request and nothing after it, as a name that changes would.
  const first: Admits = () => (looked += 1) === 1;
  expect(await failure('/to-name', { admits: first })).toContain('localhost is an address');
});

it.each([
  ['http://example.com/x.csv', 'only https: URLs are downloaded'],
  ['ftp://example.com/x.csv', 'only https: URLs are downloaded'],
  ['https://user:canary@example.com/x.csv', 'a URL with a login is not downloaded'],
  ['https://', 'is not a URL'],
])('%s is not asked: %s', async (url, why) => {
  const said = await download(url, folder).catch((error: unknown) => messageOf(error));
  expect(said).toContain(why);
  expect(said).not.toContain('canary');
});

it('an IPv6 address that carries an IPv4 address is public where that is', () => {
  const isPublic = (address: string): boolean => isPublicAddress(address);
  expect(['64:ff9b::808:808', '64:ff9b::8.8.8.8', '::ffff:808:808'].filter(isPublic)).toHaveLength(
    3,
  );
  const others = [
    '64:ff9b::7f00:1',
    '64:ff9b::10.0.0.1',
    '64:ff9b:1::808:808',
    '64:FF9B::A9FE:A9FE',
    '::ffff:6440:1',
    '::8.8.8.8',
    'fe80::1%lo',
  ];
  expect(others.filter(isPublic)).toEqual([]);
});
