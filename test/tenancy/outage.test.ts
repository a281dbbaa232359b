/** A lost database costs a job no attempt; a transaction that the server ended for idleness does. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Tx } from '../../src/db/connect.ts';
import { openTenantPool } from '../../src/db/tenant-pool.ts';
import { tenantSql, withTenant } from '../../src/db/tenant.ts';
import type { TenantSql } from '../../src/db/tenant.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { addTenant, startAttempt } from '../support/tenants.ts';

let test: TestDatabase;
let sql: TenantSql;
beforeAll(async () => {
  test = await freshDatabase();
  const database = await test.open({ tenantConnections: 2 });
  const { token } = await startAttempt(test.sql, await addTenant(test.sql));
  sql = tenantSql(database.tenant, { token });
});
afterAll(() => test.close());

const endSessionOf = async (tx: Tx): Promise<void> => {
  const [row] = await tx<{ pid: number }[]>`select pg_backend_pid() as pid`;
  await test.sql`select pg_terminate_backend(${row?.pid ?? 0}, 5000)`;
};
const unavailable = {
  code: 'database_unavailable',
  details: { class: 'snooze' },
};

it('a session that the server ends is an outage, also between two statements', async () => {
  const lost = sql.begin(async (tx) => {
    await endSessionOf(tx);
    await tx`select 1`;
  });
  await expect(lost).rejects.toMatchObject(unavailable);
  expect(await sql`select 1 as one`).toEqual([{ one: 1 }]);
});

it('a session that refused a write as read-only is not used again', async () => {
  const pidOf = async (): Promise<number | undefined> => {
    const [row] = await sql<{ pid: number }>`select pg_backend_pid() as pid`;
    return row?.pid;
  };
  const before = await pidOf();
  expect(await pidOf()).toBe(before);
  const refused = sql.begin(async (tx) => {
    await tx`set transaction read only`;
    await tx`delete from aws_accounts`;
  });
  await expect(refused).rejects.toMatchObject({ code: '25006' });
  expect(await pidOf()).not.toBe(before);
});

it('a server that takes no connection is an outage', async () => {
  const pool = openTenantPool(
    {
      url: 'postgres://nobody@127.0.0.1:1/none',
      tlsVerify: undefined,
      pooled: false,
      serverVersion: 15,
      switchRole: false,
      checksConnection: false,
    },
    { max: 1, applicationName: 'x' },
  );
  const refused = withTenant(pool, { token: 'any' }, (tx) => tx`select 1`);
  await expect(refused).rejects.toMatchObject(unavailable);
  await pool.close();
});

it('a login that cannot open a session any more is an outage, and names the variable to check', async () => {
  const own = await freshDatabase();
  try {
    const database = await own.open({ level: 'L3', tenantConnections: 2 });
    const { token } = await startAttempt(own.sql, await addTenant(own.sql));
    // SQL of a tenant may do so: a role may change the settings of its own sessions.
    await withTenant(database.tenant, { token }, (tx) =>
      tx.unsafe(
        `alter role current_user in database "${own.name}" set local_preload_libraries = 'none'`,
      ),
    );
    const pool = await own.open({ level: 'L3' }).catch((error: unknown) => error);
    expect(pool).toBeInstanceOf(Error);
    const other = tenantSql(database.tenant, { token });
    const second = [1, 2].map(() => other`select pg_sleep(0.2)`);
    const [failed] = (await Promise.allSettled(second)).filter(
      ({ status }) => status === 'rejected',
    );
    expect(failed).toMatchObject({
      reason: { ...unavailable, message: expect.stringMatching(/\(58P01\).*TENANT_DATABASE_URL/) },
    });
  } finally {
    await own.close();
  }
});

it('an error of another server inside the transaction is not an outage', async () => {
  const reset = Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' });
  await expect(sql.begin(() => Promise.reject(reset))).rejects.toBe(reset);
});

it('a transaction that the server ended for idleness is not an outage', async () => {
  const idle = sql.begin(async (tx) => {
    await tx`select 1`;
    await sleep(6_000);
    await tx`select 2`;
  });
  await expect(idle).rejects.not.toMatchObject({ code: 'database_unavailable' });
});
