/** Every form of REDIS_URL that the configuration accepts reaches the server with its login and its database. */
import { once } from 'node:events';
import { createServer } from 'node:net';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { loadConfig } from '../../src/config.ts';
import { openQueueBackend } from '../../src/queues/backend.ts';
import { invokeWith } from '../cli/in-process.ts';
import { freshDatabase } from '../support/database.ts';
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

  it('a database that the server does not have is refused, not replaced by database 0', async () => {
    await redis.command('FLUSHALL');
    await expect(write('redis://127.0.0.1:PORT/99')).rejects.toMatchObject({
      code: 'queue_database_missing',
      exitCode: 78,
    });
    expect(await keysIn(0)).toBe(':0');
  });

  it('doctor names it, and a lost connection, in words', async () => {
    const test = await freshDatabase();
    const queues = async (redisUrl: string) => {
      const env = { DATABASE_URL: test.url, REDIS_URL: redisUrl };
      const { out } = await invokeWith(env)('doctor', '--json');
      const findings: { check: string }[] = JSON.parse(out);
      return findings.find(({ check }) => check === 'queues');
    };
    expect(await queues(`${redis.url}/99`)).toMatchObject({
      level: 'fail',
      seen: expect.stringContaining('this Redis has no database of the number'),
    });
    expect(await queues(redis.url.replace('redis://', 'redis://app:wrong@'))).toMatchObject({
      level: 'fail',
      seen: expect.stringMatching(/^REDIS_URL: the server refuses this login.*WRONGPASS/),
      fix: expect.stringContaining('of REDIS_URL'),
    });
    const closing = createServer((socket) => socket.destroy());
    await once(closing.listen(0, '127.0.0.1'), 'listening');
    const at = closing.address();
    expect(
      await queues(`redis://127.0.0.1:${typeof at === 'object' ? at?.port : ''}`),
    ).toMatchObject({ level: 'fail', seen: expect.stringContaining('lost its connection') });
    closing.close();
    await test.close();
  });

  it('a wrong password of a user is refused', async () => {
    await expect(write('redis://app:wrong@127.0.0.1:PORT')).rejects.toThrow('WRONGPASS');
  });
});
