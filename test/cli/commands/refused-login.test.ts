/** A command whose login is refused makes one attempt, and names the variable that has the login. */
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { emptyDatabase, freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { runCli } from '../../support/process.ts';

let test: TestDatabase;
beforeAll(async () => {
  test = await emptyDatabase();
});
afterAll(() => test.close());

it.each([
  [['migrate', 'up']],
  [['migrate', 'status']],
  [['migrate', 'down', '--yes']],
  [['doctor', '--checklist']],
])('%j names DATABASE_URL, or DATABASE_DIRECT_URL where it uses that', async (args) => {
  const wrong = test.url.replace(/:[^:@]+@/, ':wrong@');
  const refused = async (env: Record<string, string>) => {
    const { code, stderr } = await runCli(args, { env });
    expect(code).toBe(69);
    return stderr;
  };
  expect(await refused({ DATABASE_URL: wrong })).toContain(
    'Check DATABASE_URL (user, password and database)',
  );
  expect(await refused({ DATABASE_URL: test.url, DATABASE_DIRECT_URL: wrong })).toContain(
    'Check DATABASE_DIRECT_URL (user, password and database)',
  );
});

it.each([[['migrate', 'status']], [['tenants', 'list']], [['doctor', '--checklist']]])(
  '%j names DATABASE_URL, where the socket in it is not there',
  async (args) => {
    const env = { DATABASE_URL: 'postgres://user:pw@/purser?host=/nowhere&port=5599' };
    const { code, stderr } = await runCli(args, { env });
    expect(stderr).toMatch(
      /at \/nowhere\/\.s\.PGSQL\.5599 \(DATABASE_URL\): .*ENOENT.*\n {2}Check DATABASE_URL \(address/,
    );
    expect(code).toBe(69);
  },
);

it('ingest names TENANT_DATABASE_URL, where only its server is away', async () => {
  const fleet = await freshDatabase();
  const env = { DATABASE_URL: fleet.url, TENANT_DATABASE_URL: 'postgres://u:p@127.0.0.1:1/d' };
  const file = fileURLToPath(new URL('refused-login.test.ts', import.meta.url));
  const { code, stderr } = await runCli(['ingest', '--tenant', 't', '--file', file], { env });
  await fleet.close();
  expect(stderr).toMatch(/^purser: TENANT_DATABASE_URL: cannot connect \(.*ECONNREFUSED/);
  expect(code).toBe(69);
});
