import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openFields, sealFields } from '../../src/crypto/secrets/fields.ts';
import { tenantSql } from '../../src/db/tenant.ts';
import { countEncryptedValues, startRotation } from '../../src/jobs/rotation.ts';
import { addJob, addJobType, begin, claim, finish, step } from '../jobs/job-steps.ts';
import { addTenant } from '../support/tenants.ts';
import { levels, openLevel } from '../tenancy/level-database.ts';
import type { LevelDatabase } from '../tenancy/level-database.ts';
import { bothKeys, newKeys, oldKeys, rotateAll } from './rotating.ts';

const place = { column: 'aws_accounts.credentials', purpose: 'api_key' } as const;

describe.each(levels)('at level %s', (level) => {
  let fixture: LevelDatabase;
  beforeAll(async () => {
    fixture = await openLevel(level);
    const { system } = fixture.database;
    await addJobType(system, step, { secretPaths: ['$."token"'] });
  });
  afterAll(() => fixture.close());

  const addAccount = async (tenantId: string, text: string): Promise<string> => {
    const accountId = randomUUID();
    const { ciphertext } = await oldKeys.encryptString(text, { tenantId, ...place });
    await fixture.database.system`
      insert into aws_accounts (tenant_id, account_id, credentials, encryption_key_version)
      values (${tenantId}, ${accountId}, ${ciphertext}, 1)`;
    return accountId;
  };
  const accountsOf = (tenantId: string) => fixture.database.system<
    { credentials: string; version: number }[]
  >`select credentials, encryption_key_version as version from aws_accounts
    where tenant_id = ${tenantId} order by id`;
  const addSecretJob = async (tenantId: string, token: string): Promise<string> => {
    const payload = await sealFields({ token, plain: token.length }, ['$."token"'], {
      tenantId,
      jobType: step,
      keyring: oldKeys,
      keyVersion: 1,
    });
    return addJob(fixture.database.system, tenantId, { payload });
  };
  const openedPayload = async (jobId: string) => {
    const [job] = await fixture.database.system<
      { payload: object; tenantId: string; version: number }[]
    >`select payload, tenant_id as "tenantId", encryption_key_version as version
      from background_jobs where id = ${jobId}`;
    const at = { tenantId: job?.tenantId ?? '', jobType: step };
    const opened: unknown = await openFields(job?.payload, ['$."token"'], at, () => newKeys);
    return { version: job?.version, opened };
  };

  it('re-encrypts rows, waiting jobs and dead letters of each tenant; a completed job stays', async () => {
    const { system } = fixture.database;
    const [tenantId, otherId] = [await addTenant(system), await addTenant(system)];
    await addAccount(tenantId, 'first');
    await addAccount(otherId, 'other');
    const waiting = await addSecretJob(tenantId, 'token-waiting');
    const dead = await addSecretJob(tenantId, 'token-dead');
    const ended = await addSecretJob(tenantId, 'token-ended');
    for (const { jobId, entryId } of await claim(system)) {
      if (jobId === waiting) continue;
      const attempt = await begin(system, { jobId, entryId });
      const error = { code: 'test', message: 'test' };
      const fail = { toState: 'dead_letter', error, result: undefined } as const;
      await finish(system, attempt, jobId === dead ? fail : {});
    }
    expect(await startRotation(system, 2, 'alice')).toMatchObject({
      jobs: 3,
      underWay: 0,
      values: 4,
    });
    expect(await startRotation(system, 2, 'bob')).toMatchObject({
      jobs: 3,
      jobIds: [],
      underWay: 3,
      values: 4,
    });

    expect((await rotateAll(fixture.database)).map((outcome) => outcome.kind)).toEqual([
      'done',
      'done',
      'done',
    ]);
    expect(await countEncryptedValues(system)).toEqual([
      { place: place.column, keyVersion: 2, values: 2 },
      { place: 'background_jobs.payload', keyVersion: 2, values: 2 },
    ]);
    for (const [id, text] of [
      [tenantId, 'first'],
      [otherId, 'other'],
    ] as const) {
      const [row] = await accountsOf(id);
      expect(row?.version).toBe(2);
      expect(await bothKeys.decryptString(row?.credentials ?? '', { tenantId: id, ...place })).toBe(
        text,
      );
    }
    expect(await openedPayload(waiting)).toEqual({
      version: 2,
      opened: { token: 'token-waiting', plain: 13 },
    });
    expect(await openedPayload(dead)).toEqual({
      version: 2,
      opened: { token: 'token-dead', plain: 10 },
    });
    const [left] =
      await system`select encryption_key_version as version from background_jobs where id = ${ended}`;
    expect(left).toEqual({ version: null });
    expect(await startRotation(system, 2, 'alice')).toMatchObject({
      jobs: 0,
      underWay: 0,
      values: 0,
    });
  });

  it('a value that cannot be decrypted is counted and stays, and the rotation completes', async () => {
    const { system } = fixture.database;
    const tenantId = await addTenant(system);
    for (let n = 0; n < 5; n += 1) await addAccount(tenantId, `value ${n}`);
    const spoiled = await addAccount(tenantId, 'spoiled');
    await system`
      update aws_accounts set credentials = overlay(credentials placing 'AAAA' from 20)
      where account_id = ${spoiled}`;
    await startRotation(system, 2, 'alice');
    const [outcome] = await rotateAll(fixture.database);
    expect(outcome).toMatchObject({
      kind: 'done',
      result: {
        place: place.column,
        toVersion: 2,
        rotated: 5,
        failed: 1,
        failedRows: [expect.any(String)],
      },
    });
    const versions = (await accountsOf(tenantId)).map(({ version }) => version);
    expect(versions.toSorted((a, b) => a - b)).toEqual([1, 2, 2, 2, 2, 2]);
    await system`delete from aws_accounts where account_id = ${spoiled}`;
  });

  it('a value that was changed during the rotation is not overwritten', async () => {
    const { system, tenant } = fixture.database;
    const tenantId = await addTenant(system);
    await addAccount(tenantId, 'value');
    await startRotation(system, 2, 'alice');
    const [job] = await claim(system, 10, 'key_rotation');
    const attempt = await begin(system, job ?? { jobId: '', entryId: '' });
    const sql = tenantSql(tenant, { token: attempt.token });
    const [row] = await sql<{ row_id: string; token: string }>`
      select * from purser.values_to_rotate(${place.column}, 2, null, 10)`;
    await system`update aws_accounts set credentials = 'v2.1.newer' where tenant_id = ${tenantId}`;
    const values = [{ rowId: row?.row_id, token: row?.token, rotated: 'v2.2.AAAA' }];
    expect(
      await sql`select purser.store_rotated(${place.column}, 2, ${JSON.stringify(values)}::text::jsonb) as stored`,
    ).toEqual([{ stored: 0 }]);
    expect(await accountsOf(tenantId)).toEqual([{ credentials: 'v2.1.newer', version: 1 }]);
    await system`delete from aws_accounts where tenant_id = ${tenantId}`;
    await finish(system, attempt);
  });

  it('the functions of a rotation refuse other jobs, other tenants and other versions', async () => {
    const { system, tenant } = fixture.database;
    const [tenantId, otherId] = [await addTenant(system), await addTenant(system)];
    await addAccount(otherId, 'of the other');
    await addSecretJob(tenantId, 'mine');
    const [own] = await claim(system);
    const handler = await begin(system, own ?? { jobId: '', entryId: '' });
    const asHandler = tenantSql(tenant, { token: handler.token });
    const list = (sql: typeof asHandler) =>
      sql`select * from purser.values_to_rotate(${place.column}, 2, null, 10)`;
    const store = (sql: typeof asHandler, rotated: string) => {
      const values = JSON.stringify([{ rowId: randomUUID(), token: 'x', rotated }]);
      return sql`select purser.store_rotated(${place.column}, 2, ${values}::text::jsonb) as stored`;
    };
    await expect(list(asHandler)).rejects.toMatchObject({ code: 'PU009' });
    await expect(store(asHandler, 'v2.2.AAAA')).rejects.toMatchObject({ code: 'PU009' });

    const payload = { place: place.column, toVersion: 2 };
    const jobId = await addJob(system, tenantId, { jobType: 'key_rotation', payload });
    const rotation = (await claim(system, 10, 'key_rotation')).find((job) => job.jobId === jobId);
    const attempt = await begin(system, rotation ?? { jobId: '', entryId: '' });
    const sql = tenantSql(tenant, { token: attempt.token });
    expect(await list(sql)).toEqual([]);
    await expect(store(sql, 'v2.1.AAAA')).rejects.toMatchObject({ code: 'PU009' });
    await expect(store(sql, 'in the clear')).rejects.toMatchObject({ code: 'PU009' });
    expect(await store(sql, 'v2.2.AAAA')).toEqual([{ stored: 0 }]);
    expect(await accountsOf(otherId)).toMatchObject([{ version: 1 }]);
    await system`delete from aws_accounts where tenant_id = ${otherId}`;
  });
});
