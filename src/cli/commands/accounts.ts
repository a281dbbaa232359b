/**
 * `purser accounts add|list|remove`: credentials of a tenant's cloud accounts. They are read from stdin or a
 * file, never from the command line, stored encrypted, and never printed.
 */
import { openKeyring } from '../../crypto/open-keyring.ts';
import { exitCodes, PurserError, UsageError } from '../../errors.ts';
import { nameFault, unknownName } from '../../names.ts';
import { keyVersionToWrite } from '../../jobs/key-versions.ts';
import { addAccountAs, removeAccountAs } from '../../operations/accounts.ts';
import type { Command, Invocation } from '../terminal/command.ts';
import { actOf, actOptions } from '../terminal/operator-options.ts';
import { listOptions, printList } from '../terminal/cut-list.ts';
import { readSecret } from '../terminal/read-secret.ts';
import type { SecretInput } from '../terminal/read-secret.ts';
import { withDatabase } from '../runtime/with-database.ts';

function accountIdOf(invocation: Invocation): string {
  const id = invocation.required('account-id');
  if (/^\d{12}$/.test(id)) return id;
  throw new UsageError(
    `--account-id must be the 12 digits of an AWS account, got ${id.length} characters`,
  );
}

function nameOf(invocation: Invocation): string | null {
  const name = invocation.value('name');
  if (name === undefined) return null;
  const fault = nameFault('account_name', name);
  if (fault !== undefined) throw new UsageError(`--name: ${fault}`);
  return name;
}

const credentials: SecretInput = {
  what: 'the credentials',
  plural: true,
  option: 'credentials-file',
  maxBytes: 65_536,
  code: 'invalid_credentials',
};

async function add(invocation: Invocation): Promise<number> {
  const tenantId = invocation.required('tenant');
  const accountId = accountIdOf(invocation);
  const name = nameOf(invocation);
  const { operator, reason } = actOf(invocation);
  const config = invocation.config();
  const keyring = await openKeyring(config);
  const secret = await readSecret(invocation, credentials);
  return withDatabase(config, async ({ database }) => {
    const keyVersion = await keyVersionToWrite(database.system, keyring);
    await addAccountAs(database.system, operator, {
      tenantId,
      accountId,
      name,
      credentials: secret,
      keyring,
      keyVersion,
      reason,
    });
    invocation.print(`account ${accountId} of tenant ${tenantId} added, key version ${keyVersion}`);
    return exitCodes.ok;
  });
}

interface AccountRow {
  tenantId: string;
  accountId: string;
  name: string | null;
  keyVersion: number;
  createdAt: Date;
}

async function list(invocation: Invocation): Promise<number> {
  const tenantId = invocation.value('tenant');
  return withDatabase(invocation.config(), async ({ database }) => {
    const sql = database.system;
    if (tenantId !== undefined) {
      const [known] = await sql`select from public.tenants where id = ${tenantId}`;
      if (known === undefined) {
        throw new PurserError('unknown_tenant', unknownName('tenant', tenantId));
      }
    }
    const rows = await sql<AccountRow[]>`
      select tenant_id as "tenantId", account_id as "accountId", name,
             encryption_key_version as "keyVersion", created_at as "createdAt"
      from public.aws_accounts where ${tenantId ?? null}::text is null or tenant_id = ${tenantId ?? null}
      order by tenant_id, account_id`;
    printList(invocation, rows, {
      what: 'accounts',
      head: ['tenant', 'account', 'name', 'key version', 'added'],
      cells: (row) => [row.tenantId, row.accountId, row.name, row.keyVersion, row.createdAt],
    });
    return exitCodes.ok;
  });
}

async function remove(invocation: Invocation): Promise<number> {
  const tenantId = invocation.required('tenant');
  const accountId = accountIdOf(invocation);
  const { operator, reason } = actOf(invocation);
  return withDatabase(invocation.config(), async ({ database }) => {
    await removeAccountAs(database.system, operator, { tenantId, accountId, reason });
    invocation.print(`account ${accountId} of tenant ${tenantId} removed`);
    return exitCodes.ok;
  });
}

const tenant = { value: 'T', help: 'the tenant that owns the account', required: true };
const accountId = { value: 'ID', help: 'the 12 digits of the AWS account', required: true };

export const accountCommands: readonly Command[] = [
  {
    path: 'accounts add',
    summary: 'read the credentials of a cloud account from stdin and store them encrypted',
    options: {
      tenant,
      'account-id': accountId,
      name: { value: 'N', help: 'display name of the account' },
      'credentials-file': { value: 'FILE', help: 'read the credentials from this file instead' },
      ...actOptions,
    },
    run: add,
  },
  {
    path: 'accounts list',
    summary: 'list cloud accounts with the version of their encryption key; never the credentials',
    options: { tenant: { value: 'T', help: 'only of this tenant' }, ...listOptions },
    run: list,
  },
  {
    path: 'accounts remove',
    summary: 'delete a cloud account and its credentials',
    options: { tenant, 'account-id': accountId, ...actOptions },
    run: remove,
  },
];
