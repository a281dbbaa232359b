/**
 * What "a way out" is, and how its outcome is measured: by what the hostile handler saw, by what it changed of
 * anybody else's, and by what the next borrower of its connection then finds.
 */
import { randomUUID } from 'node:crypto';
import postgres from 'postgres';
import type { Database, TenancyLevel } from '../../../src/db/database.ts';
import { tenantSql } from '../../../src/db/tenant.ts';
import type { TenantSql } from '../../../src/db/tenant.ts';
import { addTenant, endAttempt, startAttempt } from '../../support/tenants.ts';
import { addJobType, runningJob } from '../../jobs/job-steps.ts';
import { standOn } from '../level-database.ts';
import type { Standing } from '../level-database.ts';
import { fingerprint } from './fingerprint.ts';

/** refused: an error. own rows: it ran, and nothing of others was seen or changed. open: it was. */
export type Outcome = 'refused' | 'own rows' | 'open';

export interface Way {
  /** As in the table of docs/security.md. */
  readonly name: string;
  readonly outcomes: Readonly<Record<TenancyLevel, Outcome>>;
  /** What the handler does; returns all that it saw. */
  readonly act: (scene: Scene) => Promise<unknown>;
}

export interface Scene {
  readonly level: TenancyLevel;
  readonly standing: Standing;
  readonly database: Database;
  readonly mine: string;
  readonly theirs: string;
  /** Stands in the other tenant's rows and nowhere else. */
  readonly canary: string;
  readonly theirToken: string;
  readonly staleToken: string;
  readonly theirUpload: string;
  /** What it saw before something threw. */
  readonly seen: unknown[];
  /** The hostile handler's. */
  readonly sql: TenantSql;
  /** The other tenant's. The pool has one connection: it comes after the hostile one. */
  readonly victim: TenantSql;
}

/** What `act` returns when the effect cannot be seen in rows or in the catalogue. */
export const open = Symbol('open');

const outcomesOf = (words: string): Way['outcomes'] => {
  const [L3, L2, L1] = words.split(', ') as [Outcome, Outcome, Outcome];
  return { L3, L2, L1 };
};

/** A way that is SQL only, in one `unsafe` of a transaction. Outcomes are those of L3, L2, L1. */
export function way(name: string, outcomes: string, text: (scene: Scene) => string): Way {
  return {
    name,
    outcomes: outcomesOf(outcomes),
    act: (scene) =>
      scene.sql.begin(async (tx) => {
        // What it sees it may send anywhere, also when its transaction is refused in the end.
        scene.seen.push(await tx.unsafe(text(scene)));
      }),
  };
}

export function deed(name: string, outcomes: string, act: Way['act']): Way {
  return { name, outcomes: outcomesOf(outcomes), act };
}

/** Two tenants with rows, each with an attempt that runs. */
export async function setScene(level: TenancyLevel): Promise<Scene> {
  const standing = await standOn(level, 1);
  const { system } = standing.database;
  await addJobType(system);
  const [mine, theirs] = [
    await addTenant(system, { limitUsd: '1' }),
    await addTenant(system, { limitUsd: '1' }),
  ];
  const canary = `canary-${randomUUID()}`;
  // With a lease and a row of its own: places where a token stands.
  const { token: theirToken } = await runningJob(system, theirs);
  const victim = tenantSql(standing.database.tenant, { token: theirToken });
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
    standing,
    database: standing.database,
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

/** An attack that is misspelt is refused as well; it proves nothing. */
const misspelt = new Set(['42601', '42P01', '42703', '42883', '42704', '22P02', '42804']);

export interface Measured {
  readonly outcome: Outcome;
  /** SQLSTATE or code of what was thrown. */
  readonly code: string | undefined;
  readonly message: string | undefined;
  /** The database is not as it was: use it no more. */
  readonly damaged: boolean;
}

export async function measure(way: Way, scene: Scene): Promise<Measured> {
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
  // The next borrower first: its entry throws away what is temporary.
  const harmed = !(await unharmed(scene));
  const damaged = harmed || before !== (await fingerprint(system, scene));
  await endAttempt(system, attempt);
  if (thrown instanceof postgres.PostgresError && misspelt.has(thrown.code)) throw thrown;
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

/** The next borrower of the connection finds its rows, all of them, and nothing else. */
async function unharmed(scene: Scene): Promise<boolean> {
  const look = () => scene.victim`
    select (select string_agg(credentials, ',') from aws_accounts) as seen,
           (select count(*)::int from ingest_uploads) as uploads,
           current_setting('search_path') as path, current_setting('timezone') as zone`;
  // A connection that was ended comes back with the second statement.
  const [found] = await look()
    .catch(look)
    .catch((error: unknown) => [{ error }]);
  const [usual] = await scene.database.system`
    select ${scene.canary} as seen, 300 as uploads, current_setting('search_path') as path,
           current_setting('timezone') as zone`;
  return JSON.stringify(found) === JSON.stringify(usual);
}
