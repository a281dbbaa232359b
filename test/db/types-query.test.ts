/**
 * The driver reads the array types when it has connected. An error of that query is an error of what waits for the
 * connection, and of nothing else.
 */
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import postgres from 'postgres';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startEmbeddedPostgres } from '../../src/db/embedded/embedded.ts';
import { inspectAsAdministrator, makeDatabase, makeLogin } from '../support/administrator.ts';

const commonJs = createRequire(import.meta.url)('postgres') as typeof postgres;

// Who may read pg_type is decided by a superuser only.
let server: Awaited<ReturnType<typeof startEmbeddedPostgres>>;
let dataDir: string;
let url: string;
beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'purser-types-'));
  await chmod(dataDir, 0o711);
  server = await startEmbeddedPostgres({ dataDir, durable: false });
  const reader = { name: 'reader', password: 'reader' };
  await makeLogin(server, reader);
  url = await makeDatabase(server, 'types', reader);
});
afterAll(async () => {
  await server.stop();
  await rm(dataDir, { recursive: true, force: true });
});

const asAdministrator = (statement: string): Promise<void> =>
  inspectAsAdministrator(server, 'types', async (sql) => {
    await sql.unsafe(statement);
  });

const unhandled: unknown[] = [];
const onUnhandled = (reason: unknown): void => void unhandled.push(reason);
beforeEach(() => {
  unhandled.length = 0;
  process.on('unhandledRejection', onUnhandled);
});
afterEach(() => void process.off('unhandledRejection', onUnhandled));

describe.each([
  ['ES module', postgres],
  ['CommonJS module', commonJs],
])('the driver as a %s', (_, driver) => {
  let sql: postgres.Sql;
  const open = (options: postgres.Options<Record<string, never>> = {}) => {
    sql = driver(url, { max: 1, backoff: false, ...options });
  };
  const refuse = () => asAdministrator('revoke select on pg_catalog.pg_type from public');
  const allow = () => asAdministrator('grant select on pg_catalog.pg_type to public');
  afterEach(async () => {
    await allow();
    await sql.end({ timeout: 1 });
  });

  const doors: [string, () => Promise<unknown>][] = [
    ['a statement', () => sql`select 1`.execute()],
    ['a statement with parameters', () => sql`select ${1}::int`.execute()],
    ['begin', () => sql.begin((tx) => tx`select 1`)],
    ['reserve', () => sql.reserve().then((reserved) => reserved.release())],
  ];
  it.each(doors)(
    '%s fails with the error of the types query, and works after it',
    async (__, use) => {
      open();
      await refuse();
      await expect(use()).rejects.toMatchObject({ code: '42501' });
      await expect(use()).rejects.toMatchObject({ code: '42501' });
      await turn();
      expect(unhandled).toEqual([]);
      await allow();
      await use();
      expect(await sql`select array[1, 2] as list, ${[3]}::int[] as given`).toEqual([
        { list: [1, 2], given: [3] },
      ]);
    },
  );

  it.each([1, 3])('each of many that wait for %d connections gets an error', async (max) => {
    open({ max });
    await refuse();
    const ends = await Promise.allSettled(doors.concat(doors, doors).map(([, use]) => use()));
    expect(new Set(ends.map(({ status }) => status))).toEqual(new Set(['rejected']));
    await turn();
    expect(unhandled).toEqual([]);
    await allow();
    await Promise.all(doors.concat(doors, doors).map(([, use]) => use()));
  });

  it.each([1, 3])('all of many that wait for %d connections are served', async (max) => {
    open({ max });
    const ends = await Promise.allSettled(doors.concat(doors, doors).map(([, use]) => use()));
    expect(new Set(ends.map(({ status }) => status))).toEqual(new Set(['fulfilled']));
  });

  it('reserve opens a connection also where no types are read', async () => {
    open({ fetch_types: false });
    const reserved = await sql.reserve();
    expect(await reserved`select 1 as one`).toEqual([{ one: 1 }]);
    reserved.release();
    expect(await sql`select 2 as two`).toEqual([{ two: 2 }]);
  });
});
