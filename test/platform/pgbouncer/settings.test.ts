/** Behind PgBouncer, which does not take most session settings: nothing runs with a wrong one. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openDatabase } from '../../../src/db/database.ts';
import { sessionSettings } from '../../../src/session-settings.ts';
import { tenantSql } from '../../../src/db/tenant.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { addTenant, startAttempt } from '../../support/tenants.ts';
import { describeThroughPgBouncer, startPgBouncer } from './pgbouncer.ts';
import type { TestPgBouncer } from './pgbouncer.ts';

describeThroughPgBouncer('through PgBouncer in transaction mode', () => {
  let test: TestDatabase;
  let pooler: TestPgBouncer;
  beforeAll(async () => {
    test = await freshDatabase();
    pooler = await startPgBouncer({ mode: 'transaction', size: 1 });
  });
  afterAll(async () => {
    await pooler.stop();
    await test.close();
  });

  const alter = (role: string, setting: string) =>
    test.sql.unsafe(`alter role ${role} in database ${test.name} ${setting}`);
  const open = (tenantUrl: string | undefined) =>
    openDatabase({
      url: pooler.through(test.url),
      tenantUrl,
      applicationName: 'purser test pooled',
      systemConnections: 1,
      tenantConnections: 1,
    });
  /** PgBouncer keeps its server connections, with the settings that they were opened with. */
  const restart = async () => {
    await pooler.stop();
    pooler = await startPgBouncer({ mode: 'transaction', size: 1 });
  };

  it('what PgBouncer restores for each client is right, whatever the role sets', async () => {
    await alter('purser_app', `set datestyle = 'SQL, DMY'`);
    await alter('purser_app', `set timezone = 'Pacific/Kiritimati'`);
    await restart();
    const database = await open(undefined);
    try {
      const [row] = await database.system`
        select current_setting('datestyle') as style, current_setting('timezone') as zone`;
      expect(row).toEqual({ style: 'ISO, MDY', zone: 'UTC' });
    } finally {
      await database.close();
      await alter('purser_app', 'reset all');
    }
  });

  it.each([
    ['bytea_output', 'escape'],
    ['default_transaction_isolation', 'serializable'],
    ['transform_null_equals', 'on'],
    ['search_path', 'nowhere, public'],
  ])(
    'a process does not start while its login has another %s, and says what to run',
    async (name, value) => {
      await alter('purser_app', `set ${name} = ${value}`);
      await restart();
      await expect(open(undefined)).rejects.toMatchObject({
        code: 'session_settings_refused',
        exitCode: 78,
        message: expect.stringMatching(
          new RegExp(`alter role "purser_app" in database "\\w+" set ${name} = '`),
        ),
      });
      await alter('purser_app', 'reset all');
      await restart();
    },
  );

  it('a transaction of a tenant has the right values, although its login may set others for itself', async () => {
    const database = await open(pooler.through(test.tenantUrl));
    try {
      const { token } = await startAttempt(test.sql, await addTenant(test.sql));
      const sql = tenantSql(database.tenant, { token });
      await sql.unsafe(`do $$ begin
          execute format('alter role current_user in database %I set bytea_output = escape', current_database());
          execute format('alter role current_user in database %I set lock_timeout = 1', current_database());
          execute format('alter role current_user in database %I set search_path = nowhere', current_database());
        end $$`);
      await database.close();
      await restart();
      const again = await open(pooler.through(test.tenantUrl));
      const found = await tenantSql(again.tenant, { token })<{ name: string; value: string }>`
        select s.name, current_setting(s.name) as value
        from unnest(${['bytea_output', 'lock_timeout', 'search_path']}::text[]) as s (name)`;
      await again.close();
      expect(found).toEqual([
        { name: 'bytea_output', value: 'hex' },
        { name: 'lock_timeout', value: '0' },
        { name: 'search_path', value: 'public' },
      ]);
      expect(sessionSettings.length).toBeGreaterThan(found.length);
    } finally {
      await database.close();
    }
  });
});
