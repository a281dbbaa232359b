import { afterAll, expect, it } from 'vitest';
import { connect } from '../../src/db/connect.ts';
import { emptyDatabase, freshDatabase } from './database.ts';
import { describeOnRedis, startRedis } from './redis.ts';

it('a fresh database is migrated and its login is no superuser', async () => {
  const database = await freshDatabase();
  const [facts] = await database.sql<{ migrated: boolean; superuser: boolean }[]>`
    select to_regclass('purser.migrations') is not null as migrated,
           (select rolsuper or rolbypassrls from pg_roles where rolname = current_user) as superuser`;
  expect(facts).toEqual({ migrated: true, superuser: false });
  await database.close();
});

it('closing a database with a leaked connection fails and names the connection', async () => {
  const database = await emptyDatabase();
  const leaked = connect(database.url, { max: 1, applicationName: 'the leaking pool' });
  afterAll(() => leaked.end({ timeout: 1 }));
  await leaked`select 1`;
  await expect(database.close()).rejects.toThrow(/the leaking pool/);
});

describeOnRedis('a test Redis', () => {
  it('comes back empty on its port after a kill', async () => {
    const redis = await startRedis();
    await redis.kill();
    await redis.start();
    expect(redis.url).toContain(String(redis.port));
    await redis.stop();
  });
});
