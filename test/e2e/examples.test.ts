/** The examples of the documentation run unchanged. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { startNode } from '../support/process.ts';

const folder = join(import.meta.dirname, '..', '..', 'examples');
let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase();
  await database.sql`insert into tenants (id) values ('acme')`;
});
afterAll(() => database.close());

const keys = async (): Promise<unknown[]> => {
  const rows = await database.sql`select dedup_key from background_jobs order by id`;
  return rows.map((row) => row['dedup_key']);
};
const runExample = async (name: string) => {
  const example = startNode([join(folder, name), 'acme'], name, {
    env: { DATABASE_URL: database.url },
  });
  expect(await example.waitForExit()).toMatchObject({ code: 0 });
  return example.stdout.join('\n');
};

test('postgres.js: committed jobs exist, a rolled back one does not', async () => {
  const said = await runExample('enqueue-postgres-js.mjs');
  expect(said).toMatch(/created: true/);
  expect(said).toMatch(/rolled back: an error after the enqueue/);
  expect(await keys()).toEqual(['example', 'example week', 'example quarter']);
});

test('pg and plain SQL enqueue jobs', async () => {
  expect(await runExample('enqueue-pg.mjs')).toMatch(/created: true/);
  const script = readFileSync(join(folder, 'enqueue.sql'), 'utf8');
  const statement = /^select[^;]+;/m.exec(script)?.[0].replace(":'tenant'", "'acme'") ?? '';
  const [row] = await database.sql.unsafe(statement);
  expect(row).toMatchObject({ created: true });
  expect(await keys()).toEqual(expect.arrayContaining(['example by pg', 'example by sql']));
});
