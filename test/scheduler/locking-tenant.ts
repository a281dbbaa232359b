/** Every lock that a tenant can take, found in the catalogue, and held in a transaction without timeouts. */
import { MIGRATION_ADVISORY_LOCK_KEY } from 'bullmq';
import type { Sql, Tx } from '../../src/db/connect.ts';
import { tenantSql } from '../../src/db/tenant.ts';
import type { TenantPool } from '../../src/db/tenant.ts';
import { eventually } from '../jobs/job-steps.ts';
import { removeTenantsIn } from '../support/tenants.ts';

export interface TenantLock {
  readonly name: string;
  /** Whether it keeps others from reading: the lock of a table, or an advisory one. */
  readonly keepsReaders?: boolean;
  /** Takes the lock inside the tenant's transaction. */
  take(tx: Tx): Promise<unknown>;
}

const tableModes = [
  'access exclusive',
  'exclusive',
  'share row exclusive',
  'share',
  'share update exclusive',
  'row exclusive',
  'row share',
  'access share',
];
const rowLocks = ['for update', 'for no key update', 'for share', 'for key share'];

/** Runs the first of `texts` that the tenant may run; false where it may run none. */
async function takeFirst(tx: Tx, texts: readonly string[]): Promise<string | undefined> {
  for (const text of texts) {
    const taken = await tx
      .savepoint((inner) => inner.unsafe(text))
      .then(
        () => true,
        () => false,
      );
    if (taken) return text;
  }
  return undefined;
}

/**
 * What calls of the registered functions can lock. `tickKey` is the key of the tenant's due tick. A function that is
 * missing here fails the walk: say what it locks, or that it only reads.
 */
const functionLocks: Readonly<Record<string, readonly string[] | 'reads'>> = {
  'purser.acts_for_tenant()': 'reads',
  'purser.broken_lock(integer,numeric)': 'reads',
  'purser.commit_fence()': ['select purser.commit_fence()'],
  'purser.complete_attempt(jsonb)': [`select purser.complete_attempt('{}')`],
  'purser.current_tenant()': 'reads',
  'purser.enqueue_child(text,jsonb,text,timestamp with time zone,integer,text)': [
    `select purser.enqueue_child('test_step', '{}', 'fresh')`,
    `select purser.enqueue_child('test_step', '{}', 'expired')`,
    `select purser.enqueue_child('finops_analysis', '{}', current_setting('test.tick_key'))`,
  ],
  'purser.guard_upload()': 'reads',
  'purser.has_token()': 'reads',
  'purser.is_job_open(text,text)': 'reads',
  'purser.is_system()': 'reads',
  'purser.key_version_to_write(jsonb,integer)': 'reads',
  'purser.refuse_change()': 'reads',
  'purser.require_context()': 'reads',
  'purser.source_key(text)': 'reads',
  'purser.store_rotated(text,integer,jsonb)': [
    // As a rotation of every payload of the tenant: the tokens in them are replaced by others of the same version.
    `select purser.store_rotated('background_jobs.payload', 2, current_setting('test.rotated')::jsonb)`,
  ],
  'purser.tenancy_mode()': 'reads',
  'purser.token_from_session()': 'reads',
  'purser.values_to_rotate(text,integer,text,integer)': 'reads',
};

/** All locks that the tenant role can take in this database. Throws naming a registered function that is not known. */
export async function listTenantLocks(sql: Sql): Promise<TenantLock[]> {
  const tables = await sql<{ name: string }[]>`
    select table_name as name from purser.protected_tables where tenant_rights <> '' order by 1`;
  const functions = await sql<{ name: string }[]>`
    select signature as name from purser.tenant_functions order by 1`;
  const unknown = functions.filter(({ name }) => functionLocks[name] === undefined);
  if (unknown.length > 0)
    throw new Error(`locks unknown: ${unknown.map(({ name }) => name).join()}`);
  const ofTables = tables.flatMap(({ name }): TenantLock[] => [
    {
      name: `table ${name}`,
      keepsReaders: true,
      take: (tx) =>
        takeFirst(
          tx,
          tableModes.map((mode) => `lock table ${name} in ${mode} mode`),
        ),
    },
    {
      name: `rows of ${name}`,
      take: (tx) =>
        takeFirst(tx, [
          ...rowLocks.map((lock) => `select from ${name} ${lock}`),
          `delete from ${name}`,
        ]),
    },
    { name: `deleted rows of ${name}`, take: (tx) => takeFirst(tx, [`delete from ${name}`]) },
  ]);
  const ofFunctions = Object.values(functionLocks).flatMap((calls) =>
    (calls === 'reads' ? [] : calls).map((call) => ({
      name: call,
      take: (tx: Tx) => tx.unsafe(call),
    })),
  );
  return [
    ...ofTables,
    ...ofFunctions,
    { name: 'a new upload', take: (tx) => tx.unsafe(newUpload) },
    { name: 'a foreign key to the tenant', take: (tx) => tx.unsafe(newAccount) },
    { name: 'advisory locks', keepsReaders: true, take: (tx) => tx.unsafe(advisoryLocks) },
  ];
}

const newUpload = `insert into ingest_uploads (tenant_id, file_name, file_hash, created_at, state)
  values (current_setting('test.tenant'), 'x', repeat('0', 64), now() - interval '2 days', 'uploading')`;
const newAccount = `insert into aws_accounts (tenant_id, account_id, credentials, encryption_key_version)
  values (current_setting('test.tenant'), 'x', 'x', 1)`;
/** Small keys, that of Purser's earlier migrations, and that of BullMQ's. */
const advisoryLocks = `
  select pg_advisory_lock(n) from generate_series(0, 50) n;
  select pg_advisory_lock(1886745203), pg_advisory_lock(${MIGRATION_ADVISORY_LOCK_KEY}, hashtext('bullmq'))`;

export interface HeldLock {
  release(): Promise<void>;
}

/** Holds a lock in an open transaction of the tenant, with every timeout lifted. */
export async function holdLock(
  pool: TenantPool,
  tenant: { readonly tenantId: string; readonly token: string; readonly rotated: string },
  lock: TenantLock,
): Promise<HeldLock> {
  let release = (): void => {};
  const released = new Promise<void>((resolve) => (release = resolve));
  let held = (): void => {};
  const holding = new Promise<void>((resolve) => (held = resolve));
  const transaction = tenantSql(pool, { token: tenant.token })
    .begin(async (tx) => {
      await tx`
        select set_config('statement_timeout', '0', true), set_config('lock_timeout', '0', true),
               set_config('idle_in_transaction_session_timeout', '0', true),
               set_config('test.tenant', ${tenant.tenantId}, true),
               set_config('test.rotated', ${tenant.rotated}, true),
               set_config('test.tick_key', ${tenant.tenantId} || ':finops_analysis:'
                 || to_char(date_trunc('hour', now() at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), true)`;
      await lock.take(tx);
      held();
      await released;
      throw new Error('released');
    })
    .catch((error: unknown) => error);
  const early = await Promise.race([holding.then(() => undefined), transaction]);
  if (early !== undefined) throw new Error(lock.name, { cause: early });
  return {
    release: async () => {
      release();
      await transaction;
    },
  };
}

/** Statements of the holder that its lock kept may run now and deadlock with the deletion. */
export async function deleteTenants(sql: Sql): Promise<void> {
  await eventually('the tenants to be deleted', () =>
    sql
      .begin(async (tx) => {
        await tx`set local lock_timeout = '1s'`;
        await removeTenantsIn(tx);
        return true;
      })
      .catch(() => undefined),
  );
}
