/** Nothing connects by an unpatched driver, and both copies of a patched one, ESM and CommonJS, behave alike. */
import { mkdtemp, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import postgres from 'postgres';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { assertDriverPatched } from '../../src/db/driver.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { copyPublishedDriver } from '../support/published-driver.ts';

const require = createRequire(import.meta.url);
const commonJs = require('postgres') as typeof postgres;

describe('assertDriverPatched', () => {
  let published: string;
  beforeAll(async () => {
    published = await mkdtemp(join(tmpdir(), 'purser-driver-'));
    await copyPublishedDriver(published);
  });
  afterAll(() => rm(published, { recursive: true, force: true }));

  test('accepts the installed driver, both as an ES module and as a CommonJS module', () => {
    expect(commonJs).not.toBe(postgres);
    expect(() => assertDriverPatched()).not.toThrow();
    expect(() => assertDriverPatched(commonJs)).not.toThrow();
  });

  test('refuses the published driver with exit code 78, naming the fix', async () => {
    const esm = (await import(pathToFileURL(join(published, 'src/index.js')).href)) as {
      default: object;
    };
    for (const driver of [esm.default, require(join(published, 'cjs/src/index.js')) as object]) {
      expect(() => assertDriverPatched(driver)).toThrow(
        expect.objectContaining({
          code: 'driver_not_patched',
          exitCode: 78,
          message: expect.stringContaining('run: npm run prepare'),
        }),
      );
    }
  });

  test('refuses the patches of another release', () => {
    expect(() => assertDriverPatched({ patchedBy: 'purser 000000000000' })).toThrow(
      '"purser 000000000000"',
    );
  });
});

describe.each([
  ['ES module', postgres],
  ['CommonJS module', commonJs],
])('the driver as a %s', (_, driver) => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await freshDatabase();
  });
  afterAll(() => database.close());

  const withPool = async (
    act: (sql: postgres.Sql) => Promise<void>,
    options: object = {},
  ): Promise<void> => {
    const sql = driver(database.url, { max: 1, ...options });
    try {
      await act(sql);
    } finally {
      await sql.end({ timeout: 5 });
    }
  };

  test('fails a statement after its session was ended, and goes on with the next one', () =>
    withPool(async (sql) => {
      const lost = sql.begin(async (tx) => {
        const [row] = await tx<{ pid: number }[]>`select pg_backend_pid() as pid`;
        await database.sql`select pg_terminate_backend(${row?.pid ?? 0})`;
        await tx`select 1`;
      });
      await expect(lost).rejects.toBeInstanceOf(Error);
      expect([...(await sql`select 1 as one`)]).toEqual([{ one: 1 }]);
    }));

  test('reserves the connection of a BEGIN with max_pipeline: 0', () =>
    withPool(
      async (sql) => {
        const rows = await sql.begin((tx) => tx`select 1 as one`);
        expect([...rows]).toEqual([{ one: 1 }]);
      },
      { max_pipeline: 0 },
    ));

  test('refuses a statement of a transaction that has ended, by a COMMIT of its own too', () =>
    withPool(async (sql) => {
      const ended = sql.begin(async (tx) => {
        await tx`commit`;
        await tx`select 1`;
      });
      await expect(ended).rejects.toMatchObject({ code: 'TRANSACTION_ENDED' });
    }));

  test('closes the session of a transaction that leaves a COPY unfinished', () =>
    withPool(async (sql) => {
      const left = sql.begin(async (tx) => {
        await tx`create temporary table staged (line text) on commit drop`;
        await tx`copy staged from stdin`.writable();
        throw new Error('changed my mind');
      });
      await expect(left).rejects.toMatchObject({ code: 'COPY_IN_PROGRESS' });
      expect([...(await sql`select 1 as one`)]).toEqual([{ one: 1 }]);
    }));
});
