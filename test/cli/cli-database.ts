/** A database for the tests of a file, commands run on it, and a new tenant before each test. */
import { afterAll, beforeAll, beforeEach } from 'vitest';
import type { Sql } from '../../src/db/connect.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { addTenant } from '../support/tenants.ts';
import { invokeWith } from './in-process.ts';
import type { Invoke } from './in-process.ts';

export interface CliDatabase {
  readonly url: string;
  readonly sql: Sql;
  /** Added before the current test. */
  readonly tenantId: string;
  readonly invoke: Invoke;
  /** Runs a command with --json and parses what it printed. */
  readonly json: (...args: string[]) => Promise<unknown>;
}

/** Registers the hooks of the file; use the result inside hooks and tests. */
export function useCliDatabase(): CliDatabase {
  let database: TestDatabase;
  let tenantId: string;
  beforeAll(async () => {
    database = await freshDatabase();
  });
  beforeEach(async () => {
    tenantId = await addTenant(database.sql);
  });
  afterAll(() => database.close());
  const invoke: Invoke = (...args) => invokeWith({ DATABASE_URL: database.url })(...args);
  return {
    get url() {
      return database.url;
    },
    get sql() {
      return database.sql;
    },
    get tenantId() {
      return tenantId;
    },
    invoke,
    json: async (...args) => JSON.parse((await invoke(...args, '--json')).out),
  };
}
