/**
 * Two hundred tenants on a small pool such as an executor's, among transactions that throw, fail, time out, are
 * cancelled, lose their connection or leave session state behind. Every row of every read is checked.
 */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Database } from '../../src/db/database.ts';
import { openTenantPool } from '../../src/db/tenant-pool.ts';
import { tenantSql } from '../../src/db/tenant.ts';
import type { TenantSql } from '../../src/db/tenant.ts';
import type { Tx } from '../../src/db/connect.ts';
import { createRandom } from '../../src/costs/sample/seeded-random.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { startAttempt } from '../support/tenants.ts';

const tenantCount = 200;
const rowsOfEach = 5;
const connections = 4;
const jobsAtOnce = 24;
const readsAtOnce = 40;

interface Tenant {
  readonly id: string;
  readonly token: string;
}

interface Row {
  readonly tenant_id: string;
  readonly credentials: string;
}

/** Different plans and paths to the same rows. */
const reads: readonly ((tx: Tx) => Promise<Row[]>)[] = [
  (tx) => tx<Row[]>`select tenant_id, credentials from aws_accounts`,
  (tx) => tx<Row[]>`select tenant_id, credentials from aws_accounts order by account_id desc`,
  (tx) => tx<Row[]>`
    select a.tenant_id, a.credentials from aws_accounts a join tenants t on t.id = a.tenant_id`,
  (tx) =>
    tx<Row[]>`select tenant_id, credentials from aws_accounts where account_id like ${'account %'}`,
  (tx) => tx<Row[]>`with all_of_them as materialized (select * from public.aws_accounts)
    select tenant_id, credentials from all_of_them`,
];

describe.each([
  { level: 'L2', wanted: 100_000 },
  { level: 'L3', wanted: 10_000 },
] as const)('at level $level', ({ level, wanted }) => {
  let test: TestDatabase;
  let database: Database;
  let pool: ReturnType<typeof openTenantPool>;
  const tenants: Tenant[] = [];

  beforeAll(async () => {
    test = await freshDatabase();
    database = await test.open({ level });
    const applicationName = 'purser test two hundred';
    pool = openTenantPool(database.tenantAccess, { max: connections, applicationName });
    for (let n = 0; n < tenantCount; n += 1) {
      const id = `tenant-${String(n).padStart(3, '0')}`;
      await test.sql`insert into tenants (id) values (${id})`;
      tenants.push({ id, token: (await startAttempt(test.sql, id)).token });
    }
    await test.sql`
      insert into aws_accounts (tenant_id, account_id, credentials, encryption_key_version)
      select id, 'account ' || n, 'of ' || id, 1 from tenants, generate_series(1, ${rowsOfEach}) n`;
  });
  afterAll(async () => {
    await pool.close();
    await test.close();
  });

  it(`no row of another tenant in ${wanted} checked reads`, async () => {
    const random = createRandom(20_261_124);
    const counts: Record<string, number> = {};
    let checked = 0;
    let rows = 0;
    let odds = 0;
    let over = false;
    const count = (what: string) => {
      counts[what] = (counts[what] ?? 0) + 1;
    };
    const check = (tenant: Tenant, found: readonly Row[]): void => {
      const wrong = found.filter(
        (row) => row.tenant_id !== tenant.id || row.credentials !== `of ${tenant.id}`,
      );
      if (wrong.length > 0 || found.length !== rowsOfEach) {
        throw new Error(`${tenant.id} saw ${JSON.stringify(found)}`);
      }
      checked += 1;
      rows += found.length;
    };
    const pick = <T>(of: readonly T[]): T => of[Math.floor(random() * of.length)] as T;
    const readMany = async (tx: Tx, tenant: Tenant): Promise<void> => {
      const asked = Array.from({ length: readsAtOnce }, () => pick(reads)(tx));
      for (const found of await Promise.all(asked)) check(tenant, found);
    };
    const backends = () => test.sql<{ pid: number }[]>`
      select pid from pg_stat_activity where application_name = 'purser test two hundred'
      and datname = current_database() and query like '%aws_accounts%' order by random() limit 1`;

    const ways: Record<string, (sql: TenantSql, tenant: Tenant) => Promise<unknown>> = {
      threw: (sql, tenant) =>
        sql.begin(async (tx) => {
          await readMany(tx, tenant);
          throw new Error('the handler threw');
        }),
      failed: (sql, tenant) =>
        sql.begin(async (tx) => {
          await readMany(tx, tenant);
          await tx`select 1 / 0`;
        }),
      'timed out': (_, tenant) =>
        tenantSql(pool, { token: tenant.token, deadlineMs: Date.now() + 15 }).begin(async (tx) => {
          await readMany(tx, tenant);
          await tx`select pg_sleep(5)`;
        }),
      aborted: (_, tenant) => {
        const controller = new AbortController();
        const { signal } = controller;
        return tenantSql(pool, { token: tenant.token, signal }).begin(async (tx) => {
          await readMany(tx, tenant);
          controller.abort(new Error('let go'));
          signal.throwIfAborted();
        });
      },
      cancelled: async (sql, tenant) => {
        const [backend] = await backends();
        await Promise.all([
          sql.begin((tx) => readMany(tx, tenant)),
          test.sql`select pg_cancel_backend(${backend?.pid ?? 0})`,
        ]);
      },
      'lost its connection': async (sql, tenant) => {
        const [backend] = await backends();
        await Promise.all([
          sql.begin((tx) => readMany(tx, tenant)),
          test.sql`select pg_terminate_backend(${backend?.pid ?? 0})`,
        ]);
      },
      'left things behind': (sql) =>
        sql.unsafe(`
          select set_config('purser.token', current_setting('purser.token'), false);
          set search_path = pg_temp, public; set timezone = 'Asia/Tokyo';
          create temp table aws_accounts as select * from public.aws_accounts;
          prepare planted as select * from public.aws_accounts;
          declare planted cursor with hold for select * from public.aws_accounts`),
      'had no valid token': async (_, tenant) => {
        const found = await tenantSql(pool, { token: randomUUID() })<Row>`
          select tenant_id, credentials from aws_accounts`;
        throw new Error(`a forged token saw ${found.length} rows beside ${tenant.id}`);
      },
    };
    const names = Object.keys(ways);
    const expected =
      /the handler threw|the database went away|division by zero|statement timeout|let go|user request|administrator command|CONNECTION_CLOSED|ECONNRESET|EPIPE|forged or no longer valid/;

    const isOver = () => over || checked >= wanted;
    const job = async (): Promise<void> => {
      while (!isOver()) {
        const tenant = pick(tenants);
        const sql = tenantSql(pool, { token: tenant.token, deadlineMs: Date.now() + 60_000 });
        // In turn: a way chosen at random would be missing from a short run now and then.
        const odd = random() < 0.12 ? names[odds++ % names.length] : undefined;
        try {
          if (odd !== undefined) await ways[odd]?.(sql, tenant);
          else if (random() < 0.1) {
            check(tenant, await sql<Row>`select tenant_id, credentials from aws_accounts`);
          } else await sql.begin((tx) => readMany(tx, tenant));
          count(odd === undefined ? 'ended well' : `${odd} (no error)`);
        } catch (error) {
          // A cancel or a termination can hit whoever has that connection by then.
          if (!(error instanceof Error) || !expected.test(error.message)) {
            over = true;
            throw error;
          }
          count(odd ?? 'hit by another');
        }
      }
    };
    const ended = await Promise.allSettled(Array.from({ length: jobsAtOnce }, job));
    for (const end of ended) if (end.status === 'rejected') throw end.reason;
    process.stderr.write(
      `  ${level}: ${checked} reads of ${tenantCount} tenants on ${connections} connections, ${rows} rows, ` +
        `0 of another tenant; transactions: ${JSON.stringify(counts)}\n`,
    );
    expect(checked).toBeGreaterThanOrEqual(wanted);
    expect(Object.keys(counts)).toEqual(expect.arrayContaining(names.slice(0, 4)));
  }, 600_000);
});
