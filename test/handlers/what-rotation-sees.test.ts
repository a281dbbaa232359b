/** Which values keep an old key needed, and which do not: what a rotation sees, counts and leaves alone. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startRotation } from '../../src/jobs/rotation.ts';
import { addTenant } from '../support/tenants.ts';
import { levels, standOn } from '../tenancy/standing.ts';
import type { Standing } from '../tenancy/standing.ts';
import { oldKeys, rotateAll } from './rotating.ts';

const place = { column: 'aws_accounts.credentials', purpose: 'api_key' } as const;

describe.each(levels)('at level %s', (level) => {
  let standing: Standing;
  beforeAll(async () => {
    standing = await standOn(level);
  });
  afterAll(() => standing.close());

  it('a value that is more than a token may hold is counted, stays, and ends nothing', async () => {
    const { system } = standing.database;
    const tenantId = await addTenant(system);
    const small = await oldKeys.encryptString('small', { tenantId, ...place });
    const fernet = await oldKeys.getEncryptionFernet({ tenantId, ...place });
    const large = fernet.encrypt(Buffer.alloc(1_100_000, 'x'));
    await system`
      insert into aws_accounts (tenant_id, account_id, credentials, encryption_key_version)
      values (${tenantId}, 'small', ${small.ciphertext}, 1), (${tenantId}, 'large', ${large}, 1)`;
    await startRotation(system, 2, 'alice');
    const [outcome] = await rotateAll(standing.database);
    expect(outcome).toMatchObject({ kind: 'done', result: { rotated: 1, failed: 1 } });
    await system`delete from aws_accounts where tenant_id = ${tenantId}`;
  });
});
