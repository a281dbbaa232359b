/** The database goes away around an LLM call: no attempt is lost, and no usage. */
import { connect as connectSocket, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { connect } from '../../src/db/connect.ts';
import type { Sql } from '../../src/db/connect.ts';
import { createLlm } from '../../src/llm/create-llm.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { countersOf } from '../support/holds.ts';
import { assertBooksRight } from '../support/ledger.ts';
import { silentLog } from '../support/llm-attempt.ts';
import { startProvider } from '../support/provider.ts';
import type { TestProvider } from '../support/provider.ts';
import { addTenant, startAttempt } from '../support/tenants.ts';

let database: TestDatabase;
let provider: TestProvider;
let link: Awaited<ReturnType<typeof startLink>>;
let throughLink: Sql;
beforeAll(async () => {
  database = await freshDatabase();
  await database.sql`
    insert into llm_prices (model, valid_from, input_usd_per_mtok, output_usd_per_mtok)
    values ('dollar', '2020-01-01', 1, 1)`;
});
afterAll(() => database.close());
beforeEach(async () => {
  provider = await startProvider();
  link = await startLink(new URL(database.url));
  throughLink = connect(link.url, { max: 2, applicationName: 'purser test link' });
});
afterEach(async () => {
  await throughLink.end({ timeout: 5 });
  await link.stop();
  await provider.stop();
  await assertBooksRight(database.sql);
});

/** A TCP link to the database that can be cut: then connections are refused. */
async function startLink(to: URL) {
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const upstream = connectSocket(Number(to.port), to.hostname);
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on('error', () => socket.destroy());
      socket.on('close', () => {
        sockets.delete(socket);
        client.destroy();
        upstream.destroy();
      });
    }
    client.pipe(upstream).pipe(client);
  });
  const listen = (port: number) =>
    new Promise<void>((resolve) => {
      server.listen(port, '127.0.0.1', resolve);
    });
  const close = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve());
      for (const socket of sockets) socket.destroy();
    });
  await listen(0);
  const url = new URL(to.href);
  const address = server.address() as AddressInfo;
  url.port = String(address.port);
  return {
    url: url.href,
    cut: close,
    restore: () => listen(address.port),
    stop: close,
  };
}

async function newCall() {
  const tenantId = await addTenant(database.sql, { limitUsd: '1' });
  const attempt = await startAttempt(database.sql, tenantId);
  const gateway = createLlm({
    provider: { kind: 'openai', model: 'dollar', baseUrl: provider.url, apiKey: 'k' },
    budgetSql: throughLink,
  });
  const { signal } = new AbortController();
  const { call } = gateway.forAttempt({ ...attempt, signal, log: silentLog });
  const question = { system: '', prompt: 'Well?', json: false, maxOutputTokens: 100 };
  return { tenantId, call: () => call(question) };
}

it('away while it reserves: nothing is sent, and the job waits without losing its attempt', async () => {
  const { call, tenantId } = await newCall();
  await link.cut();
  await expect(call()).rejects.toMatchObject({
    code: 'store_unavailable',
    details: { class: 'snooze' },
  });
  expect(provider.received).toHaveLength(0);
  await link.restore();
  await call();
  expect(await countersOf(database.sql, tenantId)).toMatchObject({ reserved: '0', unknown: '0' });
});

it('away for 8 s while it settles: the answer is charged once and returned', async () => {
  const { call, tenantId } = await newCall();
  let release = (): void => {};
  const until = new Promise<void>((resolve) => {
    release = resolve;
  });
  provider.script({ kind: 'answer', usage: { prompt_tokens: 1000, completion_tokens: 50 }, until });
  const reply = call();
  await expect.poll(() => provider.received.length).toBe(1);
  await link.cut();
  release();
  await sleep(8000);
  expect(await countersOf(database.sql, tenantId)).toMatchObject({ spent: '0' });
  await link.restore();
  expect(await reply).toMatchObject({ costUsd: '0.00105' });
  expect(await countersOf(database.sql, tenantId)).toEqual({
    reserved: '0',
    spent: '0.00105',
    unknown: '0',
  });
  expect(provider.received).toHaveLength(1);
}, 60_000);
