/** An operator's acts on the cloud accounts of tenants. Their credentials are stored encrypted, and are on no record. */
import type { EncryptionKeyManager } from '../crypto/keyring.ts';
import type { Sql, Tx } from '../db/connect.ts';
import { codeOf, PurserError } from '../errors.ts';
import { unknownName } from '../names.ts';
import { performAct } from './audit.ts';
import type { Operator } from './audit.ts';

interface AccountTarget {
  readonly tenantId: string;
  readonly accountId: string;
  readonly reason?: string | undefined;
}

export interface NewAccount extends AccountTarget {
  readonly name: string | null;
  readonly credentials: string;
  readonly keyring: EncryptionKeyManager;
  /** `keyVersionToWrite`. */
  readonly keyVersion: number;
}

const foreignKeyViolation = '23503';

/** Throws `account_exists` and `unknown_tenant`. */
export async function addAccountAs(
  sql: Sql | Tx,
  operator: Operator,
  { tenantId, accountId, name, credentials, keyring, keyVersion, reason }: NewAccount,
): Promise<void> {
  const place = { tenantId, column: 'aws_accounts.credentials', purpose: 'api_key' } as const;
  const { ciphertext } = await keyring.encryptString(credentials, place, keyVersion);
  const added = performAct(sql, operator, async (tx) => {
    const rows = await tx`
      insert into public.aws_accounts (tenant_id, account_id, name, credentials, encryption_key_version)
      values (${tenantId}, ${accountId}, ${name}, ${ciphertext}, ${keyVersion})
      on conflict (tenant_id, account_id) do nothing returning id`;
    if (rows.length === 0) {
      throw new PurserError(
        'account_exists',
        `tenant ${JSON.stringify(tenantId)} already has account ${accountId}; to change its credentials, remove it first`,
      );
    }
    const change = { before: null, after: { name, keyVersion } };
    return {
      result: undefined,
      act: { act: 'account_add', tenantId, target: { accountId }, reason, ...change },
    };
  });
  return added.catch((error: unknown) => {
    if (codeOf(error) !== foreignKeyViolation) throw error;
    throw new PurserError('unknown_tenant', unknownName('tenant', tenantId));
  });
}

/** Throws `unknown_account`. */
export async function removeAccountAs(
  sql: Sql | Tx,
  operator: Operator,
  { tenantId, accountId, reason }: AccountTarget,
): Promise<void> {
  return performAct(sql, operator, async (tx) => {
    const [removed] = await tx<{ name: string | null; keyVersion: number }[]>`
      delete from public.aws_accounts where tenant_id = ${tenantId} and account_id = ${accountId}
      returning name, encryption_key_version as "keyVersion"`;
    if (removed === undefined) {
      throw new PurserError(
        'unknown_account',
        `tenant ${JSON.stringify(tenantId)} has no account ${accountId}; see: purser accounts list`,
      );
    }
    const change = { before: removed, after: null };
    return {
      result: undefined,
      act: { act: 'account_remove', tenantId, target: { accountId }, reason, ...change },
    };
  });
}
