import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ensureLedger, hasLedger } from '../../src/db/locks/migration.ts';
import {
  assertMigrated,
  loadMigrations,
  migrateDown,
  migrateUp,
  migrationStatus,
} from '../../src/db/migrate.ts';
import { emptyDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';

let test: TestDatabase;
let root: string;
let folder: string;
beforeEach(async () => {
  test = await emptyDatabase();
  // A path with characters that users have.
  root = await mkdtemp(join(tmpdir(), 'purser #1 100%25 '));
  folder = `${join(root, 'sql')}/`;
  await cp('sql', folder, { recursive: true });
});
afterEach(async () => {
  await test.close();
  await rm(root, { recursive: true, force: true });
});

const all = async () => (await loadMigrations()).map(({ name }) => name);
const objects = () => test.sql`
  select c.oid::regclass::text as name from pg_class c
  where c.relnamespace::regnamespace::text in ('public', 'purser')
    and c.relkind in ('r', 'p', 'v', 'S', 'i')
  union all select p.oid::regprocedure::text from pg_proc p
  where p.pronamespace::regnamespace::text in ('public', 'purser') order by 1`;

async function add(name: string, up: string, down = 'select 1'): Promise<void> {
  await writeFile(join(folder, `${name}.sql`), up);
  await writeFile(join(folder, `${name}.down.sql`), down);
}

describe('migrations', () => {
  it('go up, down to only the ledger, and up again to the same schema', async () => {
    expect((await migrateUp(test.url)).applied).toEqual(await all());
    const first = await objects();
    expect((await migrateDown(test.url, 1_000)).toReversed()).toEqual(await all());
    expect((await objects()).map(({ name }) => String(name))).toEqual([
      'purser.migrations',
      'purser.migrations_pkey',
    ]);
    expect((await migrateUp(test.url)).applied).toEqual(await all());
    expect(await objects()).toEqual(first);
    expect((await migrateUp(test.url)).applied).toEqual([]);
  });

  it('by two migrators at once are applied once', async () => {
    const results = await Promise.all([migrateUp(test.url), migrateUp(test.url)]);
    const applied = results.map((result) => result.applied.length);
    expect(applied.toSorted((a, b) => a - b)).toEqual([0, (await all()).length]);
  });

  it('at once meet no error while each looks for the ledger and creates it', async () => {
    for (let round = 0; round < 100; round += 1) {
      await test.sql.unsafe('drop schema if exists purser cascade');
      await Promise.all(Array.from({ length: 4 }, () => ensureLedger(test.sql)));
    }
    await expect(hasLedger(test.sql)).resolves.toBe(true);
  });

  it('are refused when a file changed after it was applied', async () => {
    await migrateUp(test.url, { folder });
    await writeFile(join(folder, '0002_tenants.sql'), '-- another text');
    await expect(migrateUp(test.url, { folder })).rejects.toMatchObject({
      code: 'migration_changed',
      message: expect.stringContaining('0002_tenants'),
      exitCode: 78,
    });
  });

  it('are refused on a database of a newer release', async () => {
    await add('9000_future', 'create table future ()', 'drop table future');
    await migrateUp(test.url, { folder });
    await expect(migrateUp(test.url)).rejects.toMatchObject({ code: 'database_newer' });
    await expect(migrateDown(test.url, 1)).rejects.toMatchObject({ code: 'database_newer' });
  });

  it('of a version from before the baseline are refused, and no start continues with them', async () => {
    await migrateUp(test.url);
    // As the last of those versions left it: 28 migrations, of which some have the names of today's.
    await test.sql`delete from purser.migrations`;
    await test.sql`
      insert into purser.migrations (version, name, checksum) values (1, '0001_foundation', 'x'),
        (2, '0002_tenants', 'x'), (3, '0003_jobs', 'x'), (4, '0004_schedules', 'x')`;
    await test.sql`
      insert into purser.migrations (version, name, checksum)
      select n, '00' || n || case n when 28 then '_chunk_entries' else '_earlier' end, 'x'
      from generate_series(10, 28) n`;
    const refusal = {
      code: 'before_baseline',
      exitCode: 78,
      message: expect.stringMatching(
        /the 23 migrations 0001_foundation to 0028_chunk_entries .*0001_tenancy.*empty database.*--steps 23 /,
      ),
    };
    await expect(migrateUp(test.url)).rejects.toMatchObject(refusal);
    await expect(assertMigrated(test.sql)).rejects.toMatchObject(refusal);
    await expect(migrateDown(test.url, 1)).rejects.toMatchObject(refusal);
    await expect(migrationStatus(test.sql)).rejects.toMatchObject(refusal);
    await test.sql`delete from purser.migrations where version > 1`;
    await expect(migrateUp(test.url)).rejects.toMatchObject({
      code: 'before_baseline',
      message: expect.stringMatching(/^the database has migration 0001_foundation of/),
    });
  });

  it('that are missing prevent a role from starting, with their names; newer ones do not', async () => {
    await migrateUp(test.url);
    await assertMigrated(test.sql);
    await test.sql`insert into purser.migrations (version, name, checksum) values (9999, '9999_next', 'x')`;
    await assertMigrated(test.sql);
    await test.sql`delete from purser.migrations where version in (9999, 9)`;
    await expect(assertMigrated(test.sql)).rejects.toMatchObject({
      code: 'not_migrated',
      exitCode: 78,
      message: expect.stringContaining('0009_heartbeats'),
    });
  });

  it('that fail are rolled back, and continue when they are corrected', async () => {
    await add('9000_first', 'create table first_one ()');
    await add('9001_broken', 'create table second_one (); select 1 / 0');
    await expect(migrateUp(test.url, { folder })).rejects.toMatchObject({
      code: 'migration_failed',
      message: expect.stringContaining('9001_broken'),
    });
    const [left] = await test.sql`
      select to_regclass('first_one') is not null as first, to_regclass('second_one') is not null as second`;
    expect(left).toEqual({ first: true, second: false });
    await add('9001_broken', 'create table second_one ()');
    expect((await migrateUp(test.url, { folder })).applied).toEqual(['9001_broken']);
  });

  it('leave no function executable by PUBLIC, also when a later one fails', async () => {
    await add(
      '9000_first',
      `create function purser.fresh() returns int language sql security definer
        set search_path = pg_catalog, public, purser, pg_temp as 'select 1'`,
    );
    await add('9001_broken', 'select 1 / 0');
    await expect(migrateUp(test.url, { folder })).rejects.toMatchObject({
      code: 'migration_failed',
    });
    const [may] = await test.sql`
      select has_function_privilege('purser_tenant', 'purser.fresh()', 'execute') as call`;
    expect(may).toEqual({ call: false });
  });

  it('may contain statements that cannot run in a transaction', async () => {
    await add(
      '9000_index',
      '-- purser: no-transaction\ncreate index concurrently if not exists ix_new on analyses (headline)',
    );
    expect((await migrateUp(test.url, { folder })).applied).toContain('9000_index');
    expect((await migrateUp(test.url, { folder })).applied).toEqual([]);
  });

  it('read their folder with or without a slash at its end', async () => {
    expect(await loadMigrations(folder.slice(0, -1))).toHaveLength((await all()).length);
  });
});
