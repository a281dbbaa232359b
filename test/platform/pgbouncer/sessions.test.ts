import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connect } from '../../../src/db/connect.ts';
import { openDatabase } from '../../../src/db/database.ts';
import type { Database } from '../../../src/db/database.ts';
import { tenantSql } from '../../../src/db/tenant.ts';
import { emptyDatabase, freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { runCli } from '../../support/process.ts';
import { addTenant, startAttempt } from '../../support/tenants.ts';
import { eventually } from '../../jobs/job-steps.ts';
import { describeThroughPgBouncer, startPgBouncer } from './pgbouncer.ts';
import type { TestPgBouncer } from './pgbouncer.ts';

describeThroughPgBouncer('through PgBouncer in transaction mode', () => {
  let test: TestDatabase;
  let pooler: TestPgBouncer;
  beforeAll(async () => {
    test = await freshDatabase();
    // One server connection per login: the next client gets the one of the previous client.
    pooler = await startPgBouncer({ mode: 'transaction', size: 1 });
  });
  afterAll(async () => {
    await pooler.stop();
    await test.close();
  });

  describe.each(['L2', 'L3'] as const)('at level %s', (level) => {
    const tenantUrl = () => pooler.through(level === 'L3' ? test.tenantUrl : test.url);
    let database: Database;

    beforeAll(async () => {
      database = await openDatabase({
        url: pooler.through(test.url),
        tenantUrl: level === 'L3' ? tenantUrl() : undefined,
        applicationName: 'purser test pooled',
        systemConnections: 1,
        tenantConnections: 1,
      });
    });
    afterAll(() => database.close());

    /** Runs `act` in an attempt's context, then queries as the next client of the same server connection. */
    async function borrowAfter(act: (sql: ReturnType<typeof tenantSql>) => Promise<unknown>) {
      const tenantId = await addTenant(test.sql);
      const { token } = await startAttempt(test.sql, tenantId);
      const sql = tenantSql(database.tenant, { token });
      const [mine] = await sql<{ pid: number; tenant: string }>`
        select pg_backend_pid() as pid, purser.current_tenant() as tenant`;
      expect(mine?.tenant).toBe(tenantId);
      await act(sql).catch(() => {});
      const next = connect(tenantUrl(), { max: 1, applicationName: 'next', pooled: true });
      try {
        const [left] = await next<{ pid: number; role: string; token: string; own: boolean }[]>`
          select pg_backend_pid() as pid, current_user as role, current_user = session_user as own,
            coalesce(current_setting('purser.token', true), '') as token`;
        const tenant = await next`select purser.current_tenant()`.catch((error: unknown) => error);
        return { samePid: left?.pid === mine?.pid, left, tenant };
      } finally {
        await next.end({ timeout: 5 });
      }
    }

    it('answers concurrent statements, with and without parameters', async () => {
      const tenantId = await addTenant(test.sql);
      const { token } = await startAttempt(test.sql, tenantId);
      const sql = tenantSql(database.tenant, { token });
      for (let round = 0; round < 100; round += 1) {
        const answers = await Promise.all([
          database.system`select 'plain' as word`,
          database.system`select ${'given'}::text as word`,
          database.system.begin((tx) => tx`select ${'begun'}::text as word`),
          sql`select 'plain' as word`,
          sql.begin(async (tx) => {
            const [[first], [second]] = await Promise.all([
              tx`select 'plain' as word`,
              tx`select ${'given'}::text as word`,
            ]);
            return [{ word: `${first?.['word']} ${second?.['word']}` }];
          }),
        ]);
        const words = answers.map(([row]) => row?.['word']);
        expect(words).toEqual(['plain', 'given', 'begun', 'plain', 'plain given']);
      }
    });

    it.each([
      ['a statement', (sql: ReturnType<typeof tenantSql>) => sql`select 1`],
      ['a failed statement', (sql: ReturnType<typeof tenantSql>) => sql`select 1 / 0`],
      [
        'a transaction that threw',
        (sql: ReturnType<typeof tenantSql>) =>
          sql.begin(async (tx) => {
            await tx`select 1`;
            throw new Error('the handler failed');
          }),
      ],
    ])('the next client of the server connection inherits nothing of %s', async (_, act) => {
      expect(database).toMatchObject({ level, pooler: 'transaction' });
      const { samePid, left, tenant } = await borrowAfter(act);
      expect(samePid).toBe(true);
      expect(left).toMatchObject({ token: '', own: true });
      expect(tenant).toMatchObject({ code: 'PU001' });
    });

    it('the next client inherits nothing of a cancelled statement', async () => {
      const { samePid, left, tenant } = await borrowAfter(async (sql) => {
        const sleeping = sql`select pg_sleep(60)`;
        // It can be rejected before the cancel's own answer is here.
        sleeping.catch(() => {});
        await eventually('the cancel to arrive', async () => {
          const [row] = await test.sql`
            select pg_cancel_backend(pid) as done from pg_stat_activity
            where datname = ${test.name} and state = 'active' and query like '%pg_sleep(60)%'
              and pid <> pg_backend_pid()`;
          return row;
        });
        await expect(sleeping).rejects.toMatchObject({ code: '57014' });
      });
      expect(samePid).toBe(true);
      expect(left).toMatchObject({ token: '', own: true });
      expect(tenant).toMatchObject({ code: 'PU001' });
    });

    it("session state of a handler does not affect the fleet's own statements", async () => {
      const tenantId = await addTenant(test.sql);
      const { token } = await startAttempt(test.sql, tenantId);
      const sql = tenantSql(database.tenant, { token });
      await sql.unsafe(
        `set timezone = 'Pacific/Kiritimati'; set search_path = nowhere; set my.note = 'planted';
         create temp table tenants as select 'planted' as id; prepare planted as select 1`,
      );
      const [found] = await database.system`
        select current_setting('timezone') <> 'Pacific/Kiritimati' as zone,
               coalesce(current_setting('my.note', true), '') as note, to_regclass('tenants')::text as path,
               (select count(*)::int from pg_prepared_statements where name = 'planted') as statements,
               (select count(*)::int from pg_class where relname = 'tenants'
                 and relnamespace = pg_my_temp_schema()) as shadows`;
      expect(found).toEqual({ zone: true, note: '', path: 'tenants', statements: 0, shadows: 0 });
    });

    it('the next client inherits nothing of a client that disconnected inside its transaction', async () => {
      const tenantId = await addTenant(test.sql);
      const { token } = await startAttempt(test.sql, tenantId);
      const vanishing = connect(tenantUrl(), { max: 1, applicationName: 'gone', pooled: true });
      await vanishing
        .begin(async (tx) => {
          await tx`select set_config('purser.token', ${token}, true)`;
          await vanishing.end({ timeout: 0 });
        })
        .catch(() => {});
      const [left] = await database.tenant.sessions.use(
        ({ sql }) => sql<{ token: string }[]>`
          select coalesce(current_setting('purser.token', true), '') as token`,
      );
      expect(left).toEqual({ token: '' });
    });
  });

  it('parameters work, although statements are not prepared', async () => {
    const database = await openDatabase({
      url: pooler.through(test.url),
      applicationName: 'purser test pooled',
      systemConnections: 4,
      tenantConnections: 1,
    });
    try {
      const answers = await Promise.all(
        Array.from({ length: 40 }, async (_, index) => {
          const [row] = await database.system<
            { twice: number }[]
          >`select ${index}::int * 2 as twice`;
          return row?.twice;
        }),
      );
      expect(answers).toEqual(Array.from({ length: 40 }, (_, index) => index * 2));
    } finally {
      await database.close();
    }
  });

  describe('without DATABASE_DIRECT_URL', () => {
    const env = () => ({ DATABASE_URL: pooler.through(test.url) });

    it('doctor fails and names it', async () => {
      const { code, stdout } = await runCli(['doctor', '--json'], { env: env() });
      const findings = JSON.parse(stdout) as { check: string }[];
      expect(findings.find(({ check }) => check === 'pooler')).toMatchObject({
        level: 'fail',
        fix: expect.stringContaining('DATABASE_DIRECT_URL'),
      });
      expect(code).toBe(1);
    });

    it.each([
      ['start', 'worker'],
      ['migrate', 'up'],
    ])('%s %s exits 78 and says to set it', async (...args) => {
      const { code, stderr } = await runCli(args, { env: env() });
      expect(stderr).toMatch(/transaction mode.*DATABASE_DIRECT_URL/);
      expect(code).toBe(78);
    });
  });

  it('level L1 is refused, because it marks its sessions', async () => {
    const plain = await emptyDatabase('purser_plain');
    try {
      const direct = { DATABASE_DIRECT_URL: plain.url, DATABASE_URL: pooler.through(plain.url) };
      expect(await runCli(['migrate', 'up'], { env: direct })).toMatchObject({ code: 0 });
      const { code, stderr } = await runCli(['jobs', 'list'], { env: direct });
      expect(stderr).toMatch(/L1 marks its sessions/);
      expect(code).toBe(78);
    } finally {
      // PgBouncer keeps its server connections to the database.
      await pooler.stop();
      await plain.close();
      pooler = await startPgBouncer({ mode: 'transaction', size: 1 });
    }
  });
});

describeThroughPgBouncer('through PgBouncer in session mode', () => {
  it('is recognised, and needs no DATABASE_DIRECT_URL', async () => {
    const test = await freshDatabase();
    const pooler = await startPgBouncer({ mode: 'session', size: 4 });
    const database = await openDatabase({
      url: pooler.through(test.url),
      applicationName: 'purser test pooled',
      systemConnections: 1,
      tenantConnections: 1,
    });
    expect(database.pooler).toBe('session');
    await database.close();
    await pooler.stop();
    await test.close();
  });
});
