/** Which values still need an old key: what a rotation finds, counts and leaves unchanged. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sealFields } from '../../src/crypto/secrets/fields.ts';
import { countEncryptedValues, startRotation } from '../../src/jobs/rotation.ts';
import { addJob, addJobType, step } from '../jobs/job-steps.ts';
import { addTenant } from '../support/tenants.ts';
import { levels, openLevel } from '../tenancy/level-database.ts';
import type { LevelDatabase } from '../tenancy/level-database.ts';
import { bothKeys, oldKeys, rotateAll } from './rotating.ts';

const place = { column: 'aws_accounts.credentials', purpose: 'api_key' } as const;

describe.each(levels)('at level %s', (level) => {
  let fixture: LevelDatabase;
  beforeAll(async () => {
    fixture = await openLevel(level);
    await addJobType(fixture.database.system, step, { secretPaths: ['$."token"'] });
  });
  afterAll(() => fixture.close());

  it('a value larger than a token may hold is counted and stays, and the rotation completes', async () => {
    const { system } = fixture.database;
    const tenantId = await addTenant(system);
    const small = await oldKeys.encryptString('small', { tenantId, ...place });
    const fernet = await oldKeys.getEncryptionFernet({ tenantId, ...place });
    const large = fernet.encrypt(Buffer.alloc(1_100_000, 'x'));
    await system`
      insert into aws_accounts (tenant_id, account_id, credentials, encryption_key_version)
      values (${tenantId}, 'small', ${small.ciphertext}, 1), (${tenantId}, 'large', ${large}, 1)`;
    await startRotation(system, 2, 'alice');
    const [outcome] = await rotateAll(fixture.database);
    expect(outcome).toMatchObject({ kind: 'done', result: { rotated: 1, failed: 1 } });
    await system`delete from aws_accounts where tenant_id = ${tenantId}`;
  });

  it('text in a payload that only looks like a token needs no key', async () => {
    const { system } = fixture.database;
    const tenantId = await addTenant(system);
    const sealed = await sealFields({ token: 'mine' }, ['$."token"'], {
      tenantId,
      jobType: step,
      keyring: bothKeys,
      keyVersion: 2,
    });
    const payload = { ...sealed, note: { $secret: 'v2.1.AAAA' } };
    await addJob(system, tenantId, { payload });
    await addJob(system, tenantId, { payload: { ...payload, again: true }, dedupKey: 'k' });
    await addJob(system, tenantId, { payload, dedupKey: 'k', onDuplicate: 'replace' });
    expect(await startRotation(system, 2, 'alice')).toMatchObject({ jobs: 0 });
  });

  it('a payload that was encrypted before the secret fields of its type were registered needs its key', async () => {
    const { system } = fixture.database;
    const tenantId = await addTenant(system);
    const early = 'test_early';
    await addJobType(system, early);
    const payload = await sealFields({ token: 'mine' }, ['$."token"'], {
      tenantId,
      jobType: early,
      keyring: oldKeys,
      keyVersion: 1,
    });
    await addJob(system, tenantId, { jobType: early, payload });
    expect(await startRotation(system, 2, 'alice')).toMatchObject({ jobs: 0 });
    await addJobType(system, early, { secretPaths: ['$."token"'] });
    expect(await startRotation(system, 2, 'alice')).toMatchObject({ jobs: 1, values: 1 });
    expect(await rotateAll(fixture.database)).toMatchObject([
      { kind: 'done', result: { rotated: 1, failed: 0 } },
    ]);
  });

  it('a new unencrypted value is refused, also next to one stored before its field was marked', async () => {
    const { system } = fixture.database;
    const tenantId = await addTenant(system);
    await addJobType(system, 'test_marked');
    const request = { jobType: 'test_marked', dedupKey: 'k' };
    await addJob(system, tenantId, { ...request, payload: { a: 'old', b: null } });
    await addJobType(system, 'test_marked', { secretPaths: ['$."a"', '$."b"'] });
    const replace = (payload: object) =>
      addJob(system, tenantId, { ...request, payload, onDuplicate: 'replace' });
    await replace({ a: 'old', b: null, more: 1 });
    for (const payload of [
      { a: 'new', b: null },
      { a: 'old', b: 'new' },
    ]) {
      await expect(replace(payload)).rejects.toMatchObject({ code: 'invalid_payload' });
    }
  });

  it('rows without a key version are counted and rotated', async () => {
    const { system } = fixture.database;
    const tenantId = await addTenant(system);
    await fixture.test.sql.unsafe(`
      create schema other;
      create table other.notes (id int primary key, tenant_id text, body text, encryption_key_version int);
      create table public.notes (id int primary key, tenant_id text not null references tenants (id),
        body text, encryption_key_version int);
      select purser.protect_table('public.notes', 'select, insert');
      select purser.encrypt_column('public.notes', 'body', 'pii');`);
    const at = { tenantId, column: 'notes.body', purpose: 'pii' } as const;
    const { ciphertext } = await oldKeys.encryptString('unversioned', at);
    await system`insert into notes (id, tenant_id, body) values (1, ${tenantId}, ${ciphertext})`;
    expect(await countEncryptedValues(system)).toContainEqual({
      place: 'notes.body',
      keyVersion: null,
      values: 1,
    });
    expect(await startRotation(system, 2, 'alice')).toMatchObject({ jobs: 1, values: 1 });
    expect(await rotateAll(fixture.database)).toMatchObject([
      { kind: 'done', result: { rotated: 1, failed: 0 } },
    ]);
    const [row] = await system<{ body: string; version: number }[]>`
      select body, encryption_key_version as version from notes`;
    expect(row?.version).toBe(2);
    expect(await bothKeys.decryptString(row?.body ?? '', at)).toBe('unversioned');

    const again = fixture.test.sql`select purser.encrypt_column('other.notes', 'body', 'pii')`;
    await expect(again).rejects.toMatchObject({ code: 'PU009' });
    await fixture.test.sql`drop table public.notes`;
    expect((await countEncryptedValues(system)).map((count) => count.place)).not.toContain(
      'notes.body',
    );
    await fixture.test.sql`delete from purser.encrypted_columns where place = 'notes.body'`;
  });
});
