/** Level L3 requires a login that is a tenant of this database. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openDatabase } from '../../src/db/database.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';

let database: TestDatabase;
let other: TestDatabase;
beforeAll(async () => {
  [database, other] = await Promise.all([freshDatabase(), freshDatabase()]);
});
afterAll(async () => {
  await Promise.all([database.close(), other.close()]);
});

const open = (tenantUrl: string) =>
  openDatabase({
    url: database.url,
    tenantUrl,
    applicationName: 'purser test role',
    systemConnections: 1,
    tenantConnections: 1,
  });

test('the tenant login of this database is accepted', async () => {
  const opened = await open(database.tenantUrl);
  expect(opened.level).toBe('L3');
  await opened.close();
});

test.each([
  [
    'a login that does not exist',
    () => database.tenantUrl.replace('purser_app_tenant', 'nobody_here'),
    /^TENANT_DATABASE_URL: its login (?!.*nobody_here).*password authentication failed/,
  ],
  ['another database', () => other.tenantUrl, /names a different database/],
  ['the system itself', () => database.url, /its login is a member of purser_system/],
])('%s is refused', async (_, url, says) => {
  await expect(open(url())).rejects.toMatchObject({
    code: 'tenant_login_unfit',
    exitCode: 78,
    message: expect.stringMatching(says),
  });
});

test('a tenant login that may create objects in a schema of the fleet is refused', async () => {
  await database.sql`grant create on schema public to purser_app_tenant`;
  await expect(open(database.tenantUrl)).rejects.toMatchObject({
    code: 'tenant_login_unfit',
    message: expect.stringMatching(
      /more rights than a tenant may have; revoke: CREATE on schema public$/,
    ),
  });
  await database.sql`revoke create on schema public from purser_app_tenant`;
});
