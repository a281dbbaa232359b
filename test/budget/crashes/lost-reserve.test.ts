/**
 * A reserve is answered before its commit is on disk, so a crash of Postgres may lose it: then its request is not sent.
 * The mark as sent waits for the disk, and takes the reserve with it.
 */
import { gatherCharges } from '../../../src/budget/charges.ts';
import { execFileSync } from 'node:child_process';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { markSent } from '../../../src/budget/reserve.ts';
import { markUnknown, recordUsage, releaseReservation } from '../../../src/budget/settle.ts';
import { connect } from '../../../src/db/connect.ts';
import type { Sql } from '../../../src/db/connect.ts';
import { startEmbeddedPostgres } from '../../../src/db/embedded/embedded.ts';
import type { EmbeddedPostgres } from '../../../src/db/embedded/embedded.ts';
import { migrateUp } from '../../../src/db/migrate.ts';
import { openProvider } from '../../../src/llm/gateway.ts';
import { createProviderGateway } from '../../../src/llm/ladder/ladder.ts';
import { openAiProtocol } from '../../../src/llm/openai.ts';
import { countersOf, reserve, settlementOf } from '../../support/holds.ts';
import { assertBooksRight } from '../../support/ledger.ts';
import { silentLog } from '../../support/llm-attempt.ts';
import { startProvider } from '../../support/provider.ts';
import { administer } from '../../support/administrator.ts';
import type { TestProvider } from '../../support/provider.ts';
import { addTenant, startAttempt } from '../../support/tenants.ts';
import type { TestAttempt } from '../../support/tenants.ts';

const script = fileURLToPath(new URL('kill-postgres.ts', import.meta.url));

let server: EmbeddedPostgres;
let watcher: Sql;
let sql: Sql;
let attempt: TestAttempt;
beforeAll(async () => {
  const dataDir = await mkdtemp(join(tmpdir(), 'purser-test-'));
  server = await startEmbeddedPostgres({
    dataDir,
    durable: false,
    settings: { synchronous_commit: 'on', autovacuum: 'off' },
  });
  await migrateUp(server.url);
  // Lets the login see the processes of the server.
  await administer(server, `grant pg_read_all_stats to ${new URL(server.url).username}`);
  watcher = connect(server.url, { max: 1, applicationName: 'purser test watcher' });
  sql = connect(server.url, { max: 1, applicationName: 'purser test' });
});
afterAll(async () => {
  await sql.end({ timeout: 5 });
  await watcher.end({ timeout: 5 });
  await server.stop();
});
beforeEach(async () => {
  const tenantId = await addTenant(sql, { limitUsd: '1' });
  attempt = await startAttempt(sql, tenantId);
});

/**
 * Stops what writes commits to disk later than their answer. The returned function ends Postgres with what only its
 * memory holds, and blocks until it is back.
 */
async function freezeWriter(): Promise<() => void> {
  const [row] = await watcher<{ pid: number }[]>`
    select pid from pg_stat_activity where backend_type = 'walwriter'`;
  const pid = row?.pid ?? 0;
  process.kill(pid, 'SIGSTOP');
  return () =>
    void execFileSync(process.execPath, ['--import', 'tsx', script, `${pid}`, server.url]);
}

/** The next statement after a crash finds a connection that is closed. */
async function reconnected(): Promise<void> {
  for (const pool of [sql, watcher]) await pool`select 1`.catch(() => {});
  await sql`select 1`;
}

async function reservationsOf(tenantId: string): Promise<object[]> {
  return [...(await sql`select id, status from llm_reservations where tenant_id = ${tenantId}`)];
}

it('a reserve that is lost before its request was marked as sent leaves nothing, and the request is not sent', async () => {
  const crash = await freezeWriter();
  const { reservationId } = await reserve(sql, attempt, '0.1');
  crash();
  await reconnected();
  expect(await reservationsOf(attempt.tenantId)).toEqual([]);
  expect(await markSent(sql, { reservationId })).toBe(false);
  expect(await countersOf(sql, attempt.tenantId)).toMatchObject({ reserved: '0' });
  await assertBooksRight(sql);
  await reserve(sql, attempt, '1');
});

it('a request that was marked as sent keeps its hold through a crash, and its settlement through another', async () => {
  const { tenantId } = attempt;
  const crash = await freezeWriter();
  const hold = await reserve(sql, attempt, '0.1');
  expect(await markSent(sql, hold)).toBe(true);
  crash();
  await reconnected();
  expect(await countersOf(sql, tenantId)).toMatchObject({ reserved: '0.1' });
  expect(await markSent(sql, hold)).toBe(false);
  const crashAgain = await freezeWriter();
  await recordUsage(sql, settlementOf(hold.reservationId, '0.05'));
  crashAgain();
  await reconnected();
  expect(await countersOf(sql, tenantId)).toEqual({ reserved: '0', spent: '0.05', unknown: '0' });
  await assertBooksRight(sql);
});

it.each([
  ['released', releaseReservation, { reserved: '0', spent: '0', unknown: '0' }],
  ['unknown', markUnknown, { reserved: '0', spent: '0', unknown: '0.1' }],
] as const)('a hold that ended as %s stays ended through a crash', async (_name, end, expected) => {
  const hold = await reserve(sql, attempt, '0.1');
  await markSent(sql, hold);
  const crash = await freezeWriter();
  expect(await end(sql, hold)).toBe(true);
  crash();
  await reconnected();
  expect(await countersOf(sql, attempt.tenantId)).toEqual(expected);
  await assertBooksRight(sql);
});

it('a settlement that is lost before it was answered can be repeated', async () => {
  const { tenantId } = attempt;
  const hold = await reserve(sql, attempt, '0.1');
  await markSent(sql, hold);
  const crash = await freezeWriter();
  const settlement = settlementOf(hold.reservationId, '0.05');
  await sql.begin(async (tx) => {
    await tx`select set_config('synchronous_commit', 'off', true)`;
    await recordUsage(tx, settlement);
  });
  crash();
  await reconnected();
  expect(await countersOf(sql, tenantId)).toMatchObject({ reserved: '0.1', spent: '0' });
  expect(await recordUsage(sql, settlement)).toMatchObject({ applied: true });
  expect(await countersOf(sql, tenantId)).toEqual({ reserved: '0', spent: '0.05', unknown: '0' });
  await assertBooksRight(sql);
});

/** A call through the gateway; `onReserved` runs between its reserve and its mark as sent. */
function callOf(provider: TestProvider, onReserved: () => void): Promise<unknown> {
  const config = { kind: 'openai', model: 'ten-cents', baseUrl: provider.url } as const;
  const call = createProviderGateway(openProvider(openAiProtocol, config))({
    ...attempt,
    sql,
    charges: gatherCharges(sql),
    signal: new AbortController().signal,
    log: silentLog,
    onBudgetCheck: onReserved,
  });
  return call({ system: 'Be brief.', prompt: 'Well?', json: false, maxOutputTokens: 100 });
}

describe('a call', () => {
  let provider: TestProvider;
  beforeAll(async () => {
    provider = await startProvider();
    await sql`
      insert into llm_prices (model, valid_from, input_usd_per_mtok, output_usd_per_mtok)
      values ('ten-cents', '2020-01-01', 0, 1000)`;
  });
  afterAll(() => provider.stop());

  it('whose reserve is lost sends nothing', async () => {
    const crash = await freezeWriter();
    await expect(callOf(provider, crash)).rejects.toMatchObject({ code: 'store_unavailable' });
    expect(provider.received).toEqual([]);
    await reconnected();
    expect(await reservationsOf(attempt.tenantId)).toEqual([]);
  });

  it('whose hold has ended before it was marked as sent sends nothing', async () => {
    await sql.unsafe(`
      create function public.expire_at_once() returns trigger language plpgsql as $$
      begin
        new.expires_at := new.created_at;
        return new;
      end $$;
      create trigger expire_at_once before insert on llm_reservations
      for each row execute function public.expire_at_once()`);
    const running = callOf(provider, () => {});
    await expect(running).rejects.toMatchObject({ code: 'llm_hold_lost' });
    expect(provider.received).toEqual([]);
    await sql`drop trigger expire_at_once on llm_reservations`;
    await callOf(provider, () => {});
    expect(provider.received).toHaveLength(1);
  });
});
