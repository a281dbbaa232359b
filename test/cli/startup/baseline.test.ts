/** A database with the migrations of a version from before the baseline. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { runCli } from '../../support/process.ts';

let test: TestDatabase;
beforeAll(async () => {
  test = await freshDatabase();
  await test.sql`update purser.migrations set name = '0001_foundation' where version = 1`;
});
afterAll(() => test.close());

const env = () => ({
  DATABASE_URL: test.url,
  DASHBOARD_USER: 'operator',
  DASHBOARD_PASSWORD: 'a long one for a test',
});

it.each([
  'start scheduler',
  'start worker',
  'start web',
  'start all',
  'migrate up',
  'migrate status',
])('ends %s with exit code 78 and what to do', async (command) => {
  const { code, stderr } = await runCli(command.split(' '), { env: env() });
  expect(code).toBe(78);
  expect(stderr).toMatch(/purser: the database has the \d+ migrations 0001_foundation to \d+_/);
  expect(stderr).toContain('Use an empty database');
});

it('is a failure of doctor', async () => {
  const { code, stdout } = await runCli(['doctor'], { env: env() });
  expect(code).toBe(1);
  expect(stdout).toMatch(
    /fail +migrations: .*the database has the \d+ migrations 0001_foundation to /,
  );
});
