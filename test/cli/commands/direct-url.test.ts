/** A DATABASE_DIRECT_URL that names another database than DATABASE_URL is refused before anything is written there. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { emptyDatabase, freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { runCli } from '../../support/process.ts';

let jobs: TestDatabase;
let other: TestDatabase;
let env: { readonly DATABASE_URL: string; readonly DATABASE_DIRECT_URL: string };
beforeAll(async () => {
  [jobs, other] = await Promise.all([freshDatabase(), emptyDatabase()]);
  env = { DATABASE_URL: jobs.url, DATABASE_DIRECT_URL: other.url };
});
afterAll(() => Promise.all([jobs.close(), other.close()]));

const refused = {
  code: 78,
  stderr: expect.stringContaining('DATABASE_DIRECT_URL names a different database'),
};

it.each<string[]>([
  ['migrate', 'up'],
  ['migrate', 'down', '--yes'],
  ['migrate', 'status'],
  ['start', 'scheduler'],
])('by %s %s', async (...args) => {
  expect(await runCli(args, { env })).toMatchObject(refused);
  const tables =
    await other.sql`select from pg_class where relnamespace::regnamespace::text = 'purser'`;
  expect(tables).toHaveLength(0);
});

it('and is reported by doctor, and not where it names the same one', async () => {
  const pooler = async (direct: string) => {
    const given = { ...env, DATABASE_DIRECT_URL: direct };
    const { stdout } = await runCli(['doctor', '--json'], { env: given });
    const findings = JSON.parse(stdout) as { check: string; level: string }[];
    return findings.find(({ check }) => check === 'pooler')?.level;
  };
  expect(await pooler(other.url)).toBe('fail');
  expect(await pooler(jobs.url)).toBe('ok');
  const same = { ...env, DATABASE_DIRECT_URL: jobs.url };
  expect(await runCli(['migrate', 'up'], { env: same })).toMatchObject({ code: 0 });
});
