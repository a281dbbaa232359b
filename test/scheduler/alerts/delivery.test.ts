/** Alerts reach the webhook at least once, signed, whatever the receiver does; private addresses are refused. */
import { createHmac } from 'node:crypto';
import { createServer } from 'node:http';
import type { IncomingHttpHeaders, Server } from 'node:http';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { endAlertTry, listAlerts, takeAlerts } from '../../../src/budget/alerts.ts';
import { recordUsage } from '../../../src/budget/settle.ts';
import { setScope } from '../../../src/budget/scopes.ts';
import type { Sql } from '../../../src/db/connect.ts';
import { deliverAlerts } from '../../../src/scheduler/alerts/deliver.ts';
import { isPublicAddress } from '../../../src/net/public-address.ts';
import { postWebhook } from '../../../src/scheduler/alerts/webhook.ts';
import { collectingLog } from '../../support/collecting-log.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { reserve, settlementOf } from '../../support/holds.ts';
import { addTenant, startAttempt } from '../../support/tenants.ts';

const secret = 'a secret of twenty-four characters';
let database: TestDatabase;
let sql: Sql;
let server: Server;
let url: string;
let status = 204;
const received: { path: string | undefined; headers: IncomingHttpHeaders; body: string }[] = [];

beforeAll(async () => {
  database = await freshDatabase();
  ({ sql } = database);
  server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => {
      received.push({ path: request.url, headers: request.headers, body });
      response.writeHead(status, status === 302 ? { location: '/elsewhere' } : {}).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  url = `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}/hook/secret-path`;
});
beforeEach(async () => {
  received.length = 0;
  status = 204;
  await sql`delete from llm_alerts`;
});
afterAll(async () => {
  server.closeAllConnections();
  server.close();
  await database.close();
});

async function raiseAlert(): Promise<string> {
  const tenantId = await addTenant(sql, { limitUsd: '100' });
  await setScope(sql, {
    tenantId,
    kind: 'model',
    subject: 'big',
    period: 'month',
    limitUsd: '1',
    hard: true,
    by: 'test',
  });
  const { reservationId } = await reserve(sql, await startAttempt(sql, tenantId), '0.6', {
    model: 'big',
  });
  await recordUsage(sql, settlementOf(reservationId, '0.6'));
  return tenantId;
}

const { log, lines } = collectingLog();
const deliver = () => deliverAlerts({ sql, target: { url, secret, allowPrivate: true }, log });
const due = () => sql`update llm_alerts set next_try_at = now()`;

it('an alert is posted once, signed, and says what was passed', async () => {
  const tenantId = await raiseAlert();
  expect(await deliver()).toBe(1);
  expect(await deliver()).toBe(0);
  await due();
  expect(await deliver()).toBe(0);
  const [message] = received;
  expect(received).toHaveLength(1);
  const [listed] = await listAlerts(sql, { tenantId });
  const body = message?.body ?? '';
  const { headers = {} } = message ?? {};
  expect(headers['webhook-id']).toBe(listed?.id);
  const timestamp = Number(headers['webhook-timestamp']);
  expect(Math.abs(Date.now() / 1000 - timestamp)).toBeLessThan(3600);
  // As its receiver computes it.
  const signed = createHmac('sha256', secret).update(`${listed?.id}.${timestamp}.${body}`);
  expect(headers['webhook-signature']).toBe(`v1,${signed.digest('base64')}`);
  expect(JSON.parse(body)).toMatchObject({
    type: 'llm_budget.threshold',
    data: {
      tenantId,
      scope: 'model',
      scopeValue: 'big',
      percent: 50,
      limitUsd: '1',
      usedUsd: '0.6',
    },
  });
  expect(listed).toMatchObject({ tries: 1, lastFailure: null });
  expect(listed?.deliveredAt).toBeInstanceOf(Date);
});

it.each([500, 404, 302, 429])(
  'an answer of %i is no delivery: it is tried again with the same id',
  async (answer) => {
    const tenantId = await raiseAlert();
    status = answer;
    await deliver();
    expect(await listAlerts(sql, { tenantId })).toMatchObject([
      { deliveredAt: null, tries: 1, lastFailure: `127.0.0.1 answered ${answer}` },
    ]);
    // Not before its pause is over.
    expect(await deliver()).toBe(0);
    // Where a redirect leads to is not asked.
    expect(received.map(({ path }) => path)).toEqual(['/hook/secret-path']);
    status = 200;
    await due();
    expect(await deliver()).toBe(1);
    expect(new Set(received.map(({ headers }) => headers['webhook-id'])).size).toBe(1);
    expect(await listAlerts(sql, { tenantId })).toMatchObject([{ tries: 2, lastFailure: null }]);
  },
);

it('one whose process died after it was taken is delivered by another', async () => {
  await raiseAlert();
  const [taken] = await takeAlerts(sql, { limit: 10, leaseMs: 30_000 });
  expect(await deliver()).toBe(0);
  await due();
  expect(await deliver()).toBe(1);
  expect(received[0]?.headers['webhook-id']).toBe(taken?.id);
});

it('two schedulers share the alerts, and a late failure does not undo a delivery', async () => {
  for (let n = 0; n < 5; n += 1) await raiseAlert();
  const counts = await Promise.all([deliver(), deliver()]);
  expect(counts.reduce((sum, one) => sum + one)).toBe(5);
  expect(received).toHaveLength(5);
  const [first] = await listAlerts(sql, {});
  await endAlertTry(sql, { id: first?.id ?? '', failure: 'late' });
  expect((await listAlerts(sql, {})).every(({ deliveredAt }) => deliveredAt !== null)).toBe(true);
});

it('a receiver that is away is named in the log without the path and the secret', async () => {
  await raiseAlert();
  const target = { url: 'http://127.0.0.1:9/hook/secret-path', secret, allowPrivate: true };
  await deliverAlerts({ sql, target, log });
  const said = JSON.stringify(lines);
  expect(said).toContain('alert_not_delivered');
  expect(said).not.toContain('secret-path');
  expect(said).not.toContain(secret);
});

it.each([
  'http://127.0.0.1/',
  'http://localhost/',
  'http://[::1]/',
  'http://10.1.2.3/',
  'http://169.254.169.254/latest/meta-data',
  'http://[fd00::1]/',
  'http://[::ffff:192.168.0.1]/',
  'http://2130706433/',
  'http://0/',
])('%s is not asked', async (address) => {
  const target = { url: address, secret, allowPrivate: false };
  expect(await postWebhook(target, { id: 'x', body: '{}' })).toMatch(/private network/);
});

it('addresses of the internet are public, others are not', () => {
  const isPublic = (address: string) => isPublicAddress(address);
  expect(
    ['1.1.1.1', '8.8.8.8', '2606:4700:4700::1111', '::ffff:8.8.8.8'].filter(isPublic),
  ).toHaveLength(4);
  const others = [
    '172.16.0.1',
    '172.31.255.255',
    '100.64.0.1',
    '224.0.0.1',
    '255.255.255.255',
    '2001:db8::1',
    '2002:7f00:1::',
    'fe80::1',
    '::',
    '64:ff9b::7f00:1',
    'nonsense',
  ];
  expect(others.filter(isPublic)).toEqual([]);
});
