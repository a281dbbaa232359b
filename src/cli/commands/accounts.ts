/**
 * `purser accounts add|list|remove`: credentials of a tenant's cloud accounts. They are read from stdin or a
 * file, never from the command line, stored encrypted, and never printed.
 */
import { createReadStream } from 'node:fs';
import { openKeyring } from '../../crypto/open-keyring.ts';
import { codeOf, exitCodes, PurserError, UsageError } from '../../errors.ts';
import { nameFault, unknownName } from '../../names.ts';
import { keyVersionToWrite } from '../../jobs/key-versions.ts';
import type { Command, Invocation } from '../terminal/command.ts';
import { jsonOption } from '../terminal/command.ts';
import { inputFile } from '../terminal/input-file.ts';
import { formatTable } from '../terminal/table.ts';
import { withDatabase } from '../runtime/with-database.ts';

const maxCredentialBytes = 65_536;
const foreignKeyViolation = '23503';

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

/** Reads the credentials as text, without the line end that an editor or `echo` adds. */
async function readCredentials(invocation: Invocation): Promise<string> {
  const path = invocation.value('credentials-file');
  const full =
    path === undefined
      ? undefined
      : await inputFile(path, { option: '--credentials-file', once: true });
  if (full === undefined && invocation.interactive) {
    invocation.note('reading the credentials from stdin; end with Ctrl-D');
  }
  const refuse = (fault: string): PurserError =>
    new PurserError(
      'invalid_credentials',
      `the credentials (${full === undefined ? 'from stdin' : `file ${full}`}) ${fault}`,
    );
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  // Stops reading as soon as the input is too large.
  for await (const chunk of full === undefined ? invocation.input() : createReadStream(full)) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes > maxCredentialBytes) {
      throw refuse(`are larger than ${maxCredentialBytes} bytes; is this the right file?`);
    }
  }
  const content = Buffer.concat(chunks);
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(content);
  } catch {
    throw refuse('are not UTF-8 text');
  }
  const trimmed = text.replace(/(?:\r?\n)+$/, '');
  if (trimmed.trim() === '')
    throw refuse('are empty; pipe them in, or use --credentials-file FILE');
  return trimmed;
}

async function add(invocation: Invocation): Promise<number> {
  const tenantId = invocation.required('tenant');
  const accountId = accountIdOf(invocation);
  const name = nameOf(invocation);
  const config = invocation.config();
  const keyring = await openKeyring(config);
  const plaintext = await readCredentials(invocation);
  return withDatabase(config, async ({ database }) => {
    const version = await keyVersionToWrite(database.system, keyring);
    const place = { tenantId, column: 'aws_accounts.credentials', purpose: 'api_key' } as const;
    const { ciphertext, keyVersion } = await keyring.encryptString(plaintext, place, version);
    const added = await database.system`
      insert into public.aws_accounts (tenant_id, account_id, name, credentials, encryption_key_version)
      values (${tenantId}, ${accountId}, ${name}, ${ciphertext}, ${keyVersion})
      on conflict (tenant_id, account_id) do nothing returning id`.catch((error: unknown) => {
      throw codeOf(error) === foreignKeyViolation ? unknownTenant(tenantId) : error;
    });
    if (added.length === 0) {
      throw new PurserError(
        'account_exists',
        `tenant ${JSON.stringify(tenantId)} already has account ${accountId}; to change its credentials, remove it first`,
      );
    }
    invocation.print(`account ${accountId} of tenant ${tenantId} added, key version ${keyVersion}`);
    return exitCodes.ok;
  });
}

function unknownTenant(tenantId: string): PurserError {
  return new PurserError('unknown_tenant', unknownName('tenant', tenantId));
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
      if (known === undefined) throw unknownTenant(tenantId);
    }
    const rows = await sql<AccountRow[]>`
      select tenant_id as "tenantId", account_id as "accountId", name,
             encryption_key_version as "keyVersion", created_at as "createdAt"
      from public.aws_accounts where ${tenantId ?? null}::text is null or tenant_id = ${tenantId ?? null}
      order by tenant_id, account_id`;
    if (invocation.flag('json')) invocation.print(JSON.stringify(rows));
    else {
      invocation.print(
        formatTable(
          ['tenant', 'account', 'name', 'key version', 'added'],
          rows.map((row) => [row.tenantId, row.accountId, row.name, row.keyVersion, row.createdAt]),
        ),
      );
    }
    return exitCodes.ok;
  });
}

async function remove(invocation: Invocation): Promise<number> {
  const tenantId = invocation.required('tenant');
  const accountId = accountIdOf(invocation);
  return withDatabase(invocation.config(), async ({ database }) => {
    const removed = await database.system`
      delete from public.aws_accounts
      where tenant_id = ${tenantId} and account_id = ${accountId} returning id`;
    if (removed.length === 0) {
      throw new PurserError(
        'unknown_account',
        `tenant ${JSON.stringify(tenantId)} has no account ${accountId}; see: purser accounts list`,
      );
    }
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
    },
    run: add,
  },
  {
    path: 'accounts list',
    summary: 'list cloud accounts with the version of their encryption key; never the credentials',
    options: { tenant: { value: 'T', help: 'only of this tenant' }, json: jsonOption },
    run: list,
  },
  {
    path: 'accounts remove',
    summary: 'delete a cloud account and its credentials',
    options: { tenant, 'account-id': accountId },
    run: remove,
  },
];
