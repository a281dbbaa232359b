/** Every form of REDIS_URL that the configuration accepts reaches the server with its login and its database. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { loadConfig } from '../../src/config.ts';
import { openQueueBackend } from '../../src/queues/backend.ts';
import { silentLog } from '../support/llm-attempt.ts';
import { describeOnRedis, startRedis } from '../support/redis.ts';
import type { TestRedis } from '../support/redis.ts';

describeOnRedis('REDIS_URL', () => {
  let redis: TestRedis;
  beforeAll(async () => {
    redis = await startRedis();
    // The default user keeps its access, for the commands of the test.
    await redis.command('ACL', 'SETUSER', 'app', 'on', '>p@ss/w%rd#1', '~*', '&*', '+@all');
  });
  afterAll(() => redis.stop());

  const write = async (form: string): Promise<void> => {
    const redisUrl = loadConfig({ REDIS_URL: form.replace('PORT', String(redis.port)) }).REDIS_URL;
    const backend = openQueueBackend({
      redisUrl,
      databaseUrl: 'postgres://nobody@127.0.0.1:1/none',
      workers: 0,
      fleetId: 'redis-url',
      applicationName: 'purser test',
      log: silentLog,
    });
    try {
      await backend.ready(10_000);
      await backend.probeWrite();
    } finally {
      await backend.close();
    }
  };
  const keysIn = (database: number): Promise<string> =>
    redis.command('EVAL', `redis.call('SELECT', '${database}') return redis.call('DBSIZE')`, '0');

  it.each([
    ['redis://127.0.0.1:PORT', 0],
    ['redis://127.0.0.1:PORT/', 0],
    ['redis://127.0.0.1:PORT/3', 3],
    ['redis://localhost:PORT/4?family=4', 4],
    ['redis://app:p%40ss%2Fw%25rd%231@127.0.0.1:PORT/5', 5],
  ])('%s writes to database %i', async (form, database) => {
    await redis.command('FLUSHALL');
    await write(form);
    expect(await keysIn(database)).toBe(':1');
  });

  it('a wrong password of a user is refused', async () => {
    await expect(write('redis://app:wrong@127.0.0.1:PORT')).rejects.toThrow('WRONGPASS');
  });
});
