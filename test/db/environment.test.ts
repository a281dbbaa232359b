/** Variables that the drivers read by themselves change no connection. */
import { Pool } from 'pg';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { connect } from '../../src/db/connect.ts';
import { poolConfig } from '../../src/queues/pool-config.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase();
});
afterAll(() => database.close());

const foreign = {
  PGTARGETSESSIONATTRS: 'any',
  PGTARGET_SESSION_ATTRS: 'standby',
  PGSSLNEGOTIATION: 'direct',
  PGSSLMODE: 'require',
  PGHOST: '192.0.2.1',
  PGPORT: '1',
  PGUSER: 'nobody_of_this_name',
  PGDATABASE: 'nothing_of_this_name',
  PGAPPNAME: 'another',
  PGOPTIONS: '-c search_path=elsewhere',
  PGMAX_LIFETIME: '0.001',
  PGMAX_PIPELINE: '0',
  PGKEEP_ALIVE: 'x',
  PGBACKOFF: 'x',
  PGDEBUG: 'x',
  PGFETCH_TYPES: '',
  PGCONNECT_TIMEOUT: '0',
};

test('connections of both drivers are what their options say', async () => {
  for (const [name, value] of Object.entries(foreign)) vi.stubEnv(name, value);
  const statement = `select current_database() as database, current_user as login,
    current_setting('application_name') as name, current_setting('search_path') as path`;
  const sql = connect(database.url, { max: 1, applicationName: 'purser test' });
  const pool = new Pool(poolConfig({ databaseUrl: database.url, applicationName: 'purser test' }));
  try {
    const [before] = await database.sql.unsafe(statement);
    const named = (name: string) => Object.assign({}, before, { name });
    expect([...(await sql.unsafe(statement))]).toEqual([named('purser test')]);
    expect((await pool.query(statement)).rows).toEqual([named('purser test queues')]);
    expect(sql.options).toMatchObject({ max_pipeline: 100, debug: false, fetch_types: true });
    expect(sql.options).toMatchObject({ backoff: expect.any(Function), keep_alive: 60 });
    expect(sql.options.max_lifetime).toEqual(expect.any(Function));
  } finally {
    vi.unstubAllEnvs();
    await sql.end();
    await pool.end();
  }
});
