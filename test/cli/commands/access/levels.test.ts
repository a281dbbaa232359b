/** What the tenancy levels mean for operators, sessions and tokens in the database. */
import { expect, it } from 'vitest';
import { checkAccess } from '../../../../src/cli/doctor/checks/access.ts';
import { prepareDatabase } from '../../../../src/cli/runtime/prepare-database.ts';
import { connect } from '../../../../src/db/connect.ts';
import { openDatabase } from '../../../../src/db/database.ts';
import { findSession, startSession } from '../../../../src/operations/operators/sessions.ts';
import { emptyDatabase, freshDatabase } from '../../../support/database.ts';

const password = 'correct horse battery';

it('at level L1 doctor says what handlers can do, and a plain session sees and adds nothing', async () => {
  const level1 = await emptyDatabase('purser_plain');
  await prepareDatabase({ url: level1.url });
  const database = await openDatabase({
    url: level1.url,
    applicationName: 'purser test level',
    systemConnections: 2,
    tenantConnections: 1,
  });
  const plain = connect(level1.url, { max: 1, applicationName: 'psql' });
  try {
    expect(database.level).toBe('L1');
    const session = { operator: 'root', address: '', browser: '' };
    const login = { user: 'root', password };
    const token = await startSession(database.system, { ...session, proof: login });
    expect(await findSession(database.system, token ?? '', login)).toMatchObject({ role: 'admin' });
    expect(await plain`select from operator_sessions`).toEqual([]);
    await expect(
      plain`insert into operators (name, role, password_hash) values ('x', 'admin', 'scrypt$')`,
    ).rejects.toThrow(/rls_enforcement_failed/);
    expect(await checkAccess(database)).toMatchObject({
      level: 'warn',
      seen: expect.stringContaining('1 open session, 0 tokens; at level L1 SQL of a handler can'),
    });
  } finally {
    await plain.end({ timeout: 5 });
    await database.close();
    await level1.close();
  }
});

it('at level L3 a tenant reads and writes none of it', async () => {
  const test = await freshDatabase();
  const database = await test.open({ level: 'L3', tenantConnections: 1 });
  expect(await checkAccess(database)).toMatchObject({ level: 'ok' });
  const tenant = connect(test.tenantUrl, { max: 1, applicationName: 'purser test tenant' });
  try {
    for (const table of ['operators', 'operator_sessions', 'api_tokens']) {
      await expect(tenant.unsafe(`select * from ${table}`)).rejects.toThrow(/permission denied/);
      await expect(tenant.unsafe(`delete from ${table}`)).rejects.toThrow(/permission denied/);
    }
  } finally {
    await tenant.end({ timeout: 5 });
    await test.close();
  }
});
