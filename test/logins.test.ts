/**
 * The database logins of the tests, and that the end-to-end path runs once on each level of tenancy. Row-level
 * security does not apply to a superuser, so a test that logs in as one would prove nothing.
 */
import { readdir, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { expect, inject, it } from 'vitest';
import { connect } from '../src/db/connect.ts';
import { freshDatabase } from './support/database.ts';
import { loginUrl, testLogins } from './support/postgres.ts';
import { levels } from './tenancy/level-database.ts';

const folder = fileURLToPath(new URL('.', import.meta.url));

/** Files that may contain a superuser's URL: they create servers, logins and databases, and contain no test. */
const administrators = [
  'compat/run.ts',
  'faults/global-setup.ts',
  'support/administrator.ts',
  'support/global-setup.ts',
  'support/postgres.ts',
];

async function sources(): Promise<Map<string, string>> {
  const files = await readdir(folder, { recursive: true });
  const mine = files.filter((file) => /\.(ts|mjs)$/.test(file) && file !== 'logins.test.ts');
  return new Map(
    await Promise.all(
      mine.map(async (file) => [file, await readFile(`${folder}/${file}`, 'utf8')] as const),
    ),
  );
}

it('no login of the tests is a superuser, has BYPASSRLS, or can become such a role', async () => {
  const database = await freshDatabase();
  const rows = await database.sql<{ login: string; mighty: string | null }[]>`
    select l.rolname as login, (
      select string_agg(r.rolname, ', ') from pg_roles r
      where (r.rolsuper or r.rolbypassrls) and pg_has_role(l.oid, r.oid, 'member')) as mighty
    from pg_roles l where l.rolname = any(${[...testLogins]}) order by 1`;
  await database.close();
  expect(rows).toEqual(testLogins.toSorted().map((login) => ({ login, mighty: null })));
});

it('the values that tests receive give no access to a superuser', async () => {
  const server = inject('testPostgres');
  expect(Object.keys(server).toSorted()).toEqual(
    ['host', 'password', 'port', 'prefix', 'templateName', 'version'].toSorted(),
  );
  const app = connect(loginUrl(server, 'purser_app', server.templateName), {
    max: 1,
    applicationName: 'purser test logins',
  });
  const mighty = await app<{ name: string }[]>`
    select rolname as name from pg_roles where (rolsuper or rolbypassrls) and rolcanlogin`;
  await app.end({ timeout: 5 });
  expect(mighty).not.toEqual([]);
  // A server that was not started by the run may trust every login; then only the next test is meaningful.
  if (process.env['PURSER_TEST_POSTGRES_URL'] !== undefined) return;
  for (const { name } of mighty) {
    const url = new URL(loginUrl(server, 'purser_app', 'postgres'));
    url.username = name;
    const sql = connect(url.href, { max: 1, applicationName: 'purser test logins' });
    await expect(sql`select 1`).rejects.toThrow(/password authentication failed/);
    await sql.end({ timeout: 5 });
  }
});

it('no test contains the URL of a superuser', async () => {
  const known = [...(await sources())]
    .filter(([, text]) =>
      /bootstrapUrl|bootstrapUser|adminUrl|PURSER_TEST_POSTGRES_URL|postgres:\/\/postgres\b/.test(
        text,
      ),
    )
    .map(([file]) => file);
  expect(known.toSorted()).toEqual(administrators);
});

it('the end-to-end path, the functions of the fleet and hostile SQL run once on each level', async () => {
  expect(levels).toEqual(['L1', 'L2', 'L3']);
  const all = await sources();
  const pipeline = all.get('production-integration/full-pipeline.test.ts') ?? '';
  for (const level of levels) {
    expect(pipeline.split(`level: '${level}', login:`)).toHaveLength(2);
  }
  // The database as the fleet found it says where it stands.
  expect(pipeline).toContain('expect(database.level).toBe(level)');
  for (const file of ['tenancy/levels.test.ts', 'tenancy/hostile.test.ts']) {
    expect(all.get(file)).toContain('describe.each(levels)');
  }
});
