/**
 * An attack by a handler's SQL, and how its outcome is measured: by what the handler read, by what it changed of
 * others, and by what the next transaction on its connection reads.
 */
import { randomUUID } from 'node:crypto';
import postgres from 'postgres';
import type { Database, TenancyLevel } from '../../../src/db/database.ts';
import { tenantSql } from '../../../src/db/tenant.ts';
import type { TenantSql } from '../../../src/db/tenant.ts';
import { addTenant, endAttempt, startAttempt } from '../../support/tenants.ts';
import { addJobType, runningJob } from '../../jobs/job-steps.ts';
import { openLevel } from '../level-database.ts';
import type { LevelDatabase } from '../level-database.ts';
import { fingerprint } from './fingerprint.ts';

/** refused: an error. own rows: it ran and read or changed nothing of others. open: it did. */
export type Outcome = 'refused' | 'own rows' | 'open';

export interface Attack {
  /** As in the table of docs/security.md. */
  readonly name: string;
  readonly outcomes: Readonly<Record<TenancyLevel, Outcome>>;
  /** Runs the attack; returns everything that it read. */
  readonly act: (scene: Scene) => Promise<unknown>;
}

export interface Scene {
  readonly level: TenancyLevel;
  readonly fixture: LevelDatabase;
  readonly database: Database;
  readonly mine: string;
  readonly theirs: string;
  /** A value that only rows of the other tenant contain. */
  readonly canary: string;
  readonly theirToken: string;
  readonly staleToken: string;
  readonly theirUpload: string;
  /** What it read before an error. */
  readonly seen: unknown[];
  /** Of the hostile handler. */
  readonly sql: TenantSql;
  /** Of the other tenant. The pool has one connection, which it uses after the hostile handler. */
  readonly victim: TenantSql;
}

/** Returned by `act` when the attack succeeded in a way that rows and catalogue do not show. */
export const open = Symbol('open');

const outcomesOf = (words: string): Attack['outcomes'] => {
  const [L3, L2, L1] = words.split(', ') as [Outcome, Outcome, Outcome];
  return { L3, L2, L1 };
};

/** An attack that is one SQL text, run by `unsafe` in a transaction. */
export function sqlAttack(name: string, outcomes: string, text: (scene: Scene) => string): Attack {
  return {
    name,
    outcomes: outcomesOf(outcomes),
    act: (scene) =>
      scene.sql.begin(async (tx) => {
        // What it read counts even if its transaction is refused later.
        scene.seen.push(await tx.unsafe(text(scene)));
      }),
  };
}

export function attack(name: string, outcomes: string, act: Attack['act']): Attack {
  return { name, outcomes: outcomesOf(outcomes), act };
}

/** Two tenants with rows, each with an attempt that runs. */
export async function setScene(level: TenancyLevel): Promise<Scene> {
  const fixture = await openLevel(level, 1);
  const { system } = fixture.database;
  await addJobType(system);
  const [mine, theirs] = [
    await addTenant(system, { limitUsd: '1' }),
    await addTenant(system, { limitUsd: '1' }),
  ];
  const canary = `canary-${randomUUID()}`;
  // With a lease and a job row, which contain a token.
  const { token: theirToken } = await runningJob(system, theirs);
  const victim = tenantSql(fixture.database.tenant, { token: theirToken });
  const stale = await startAttempt(system, theirs);
  await endAttempt(system, stale);
  for (const [tenantId, secret] of [
    [mine, 'my own'],
    [theirs, canary],
  ] as const) {
    await system`
      insert into aws_accounts (tenant_id, account_id, credentials, encryption_key_version)
      values (${tenantId}, 'account', ${secret}, 1)`;
    await system`
      insert into ingest_uploads (tenant_id, file_name, file_hash)
      select ${tenantId}, ${secret}, repeat('0', 64) from generate_series(1, ${tenantId === mine ? 1 : 300})`;
    await system`
      insert into ingest_chunks (upload_id, seq, tenant_id, bytes)
      select min(id), 0, ${tenantId}, 'x' from ingest_uploads where tenant_id = ${tenantId}`;
  }
  await system`analyze ingest_uploads, aws_accounts`;
  const [upload] = await system<{ id: string }[]>`
    select min(id) as id from ingest_uploads where tenant_id = ${theirs}`;
  return {
    level,
    fixture,
    database: fixture.database,
    mine,
    theirs,
    canary,
    theirToken,
    staleToken: stale.token,
    theirUpload: upload?.id ?? '',
    seen: [],
    sql: victim,
    victim,
  };
}

/** A syntax error or a wrong name would count as refused but proves nothing. */
const invalidSql = new Set(['42601', '42P01', '42703', '42883', '42704', '22P02', '42804']);

export interface Measured {
  readonly outcome: Outcome;
  /** SQLSTATE or code of what was thrown. */
  readonly code: string | undefined;
  readonly message: string | undefined;
  /** The database was changed and must not be used again. */
  readonly damaged: boolean;
}

export async function measure(way: Attack, scene: Scene): Promise<Measured> {
  const { system, tenant } = scene.database;
  const attempt = await startAttempt(system, scene.mine);
  const before = await fingerprint(system, scene);
  const seen: unknown[] = [];
  let saw: unknown;
  let thrown: unknown;
  try {
    saw = await way.act({ ...scene, seen, sql: tenantSql(tenant, { token: attempt.token }) });
  } catch (error) {
    thrown = error;
  }
  // Before the fingerprint: the next transaction discards temporary state.
  const harmed = !(await nextBorrowerUnaffected(scene));
  const damaged = harmed || before !== (await fingerprint(system, scene));
  await endAttempt(system, attempt);
  if (thrown instanceof postgres.PostgresError && invalidSql.has(thrown.code)) throw thrown;
  const told = [seen, saw, describe(thrown)].map((each) => JSON.stringify(each) ?? '').join(' ');
  const leaked = told.includes(scene.canary) || told.includes(scene.theirToken);
  const { code, message } = (thrown ?? {}) as { code?: string; message?: string };
  const outcome =
    damaged || leaked || saw === open ? 'open' : thrown === undefined ? 'own rows' : 'refused';
  return { outcome, code, message, damaged };
}

function describe(thrown: unknown): unknown {
  if (!(thrown instanceof Error)) return thrown;
  return { ...Object.fromEntries(Object.entries(thrown)), message: thrown.message };
}

/** Whether the next transaction on the connection reads exactly its own rows. */
async function nextBorrowerUnaffected(scene: Scene): Promise<boolean> {
  const look = () => scene.victim`
    select (select string_agg(credentials, ',') from aws_accounts) as seen,
           (select count(*)::int from ingest_uploads) as uploads,
           current_setting('search_path') as path, current_setting('timezone') as zone`;
  // A terminated connection is reopened by the second statement.
  const [found] = await look()
    .catch(look)
    .catch((error: unknown) => [{ error }]);
  const [usual] = await scene.database.system`
    select ${scene.canary} as seen, 300 as uploads, current_setting('search_path') as path,
           current_setting('timezone') as zone`;
  return JSON.stringify(found) === JSON.stringify(usual);
}
