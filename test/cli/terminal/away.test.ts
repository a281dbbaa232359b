/** Stores that are away: a command names the variable, host and port, and never the login; a role says what it waits for. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { asUnreachable } from '../../../src/cli/runtime/unreachable.ts';
import { storeText } from '../../../src/cli/runtime/store-place.ts';
import { messageOf } from '../../../src/errors.ts';
import { freePort } from '../../support/children.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { startCli } from '../../support/process.ts';
import { describeOnRedis, startRedis } from '../../support/redis.ts';
import { invokeWith } from '../in-process.ts';

let test: TestDatabase;
beforeAll(async () => {
  test = await freshDatabase();
});
afterAll(() => test.close());

const login = 'operator:canary';

describe('a command', () => {
  it.each([
    ['127.0.0.1', '127.0.0.1'],
    ['localhost', 'localhost'],
    ['[::1]', '[::1]'],
    ['no-such-host.invalid', 'no-such-host.invalid'],
  ])('names the place of DATABASE_URL at %s', async (host, place) => {
    const port = await freePort();
    const env = { DATABASE_URL: `postgres://${login}@${host}:${port}/x` };
    const { code, err } = await invokeWith(env)('jobs', 'list');
    expect(code).toBe(69);
    expect(err).toContain(`cannot connect to Postgres at ${place}:${port} (DATABASE_URL): `);
    expect(err).toContain('Check DATABASE_URL (address and login)');
    expect(err).not.toContain('canary');
  });

  it('names DATABASE_DIRECT_URL where that one is away', async () => {
    const port = await freePort();
    const direct = `postgres://${login}@127.0.0.1:${port}/x`;
    const env = { DATABASE_URL: test.url, DATABASE_DIRECT_URL: direct };
    const { code, err } = await invokeWith(env)('migrate', 'status');
    expect(code).toBe(69);
    expect(err).toContain(`Postgres at 127.0.0.1:${port} (DATABASE_DIRECT_URL): nothing listens`);
    expect(err).not.toContain('canary');
  });
});

it('an error with an address is of the variable that has it, and otherwise of the usual one', () => {
  const config = {
    DATABASE_URL: `postgres://${login}@db.internal:5432/x`,
    TENANT_DATABASE_URL: `postgres://${login}@pool.internal:6432/x`,
    DATABASE_DIRECT_URL: undefined,
    REDIS_URL: `rediss://${login}@cache.internal:6380/2`,
  };
  const away = (fields: object, message = '') =>
    messageOf(
      asUnreachable(
        config,
        'DATABASE_URL',
        Object.assign(new Error(message), { code: 'ECONNREFUSED', syscall: 'connect' }, fields),
      ),
    );
  expect(away({ address: '10.0.0.9', port: 6380 })).toContain(
    'Redis at cache.internal:6380 (REDIS_URL)',
  );
  expect(away({ address: '10.0.0.9', port: 6432 })).toContain('(TENANT_DATABASE_URL)');
  expect(away({ code: 'CONNECT_TIMEOUT' }, 'write CONNECT_TIMEOUT pool.internal:6432')).toContain(
    'Postgres at pool.internal:6432 (TENANT_DATABASE_URL): no answer',
  );
  expect(away({ address: '10.0.0.9', port: 9 })).toContain('db.internal:5432 (DATABASE_URL)');
  expect(away({ code: 'ENOENT', address: '/run/.s.PGSQL.5432' })).not.toContain('canary');
  const socket = { ...config, DATABASE_URL: 'postgres:///x?host=/run/postgresql' };
  expect(storeText(socket, 'DATABASE_URL')).toBe(
    'Postgres at /run/postgresql/.s.PGSQL.5432 (DATABASE_URL)',
  );
});

describeOnRedis('a role', () => {
  it('waits for Redis by name and is not running before it takes writes', async () => {
    const redis = await startRedis();
    await redis.kill();
    const role = startCli(['start', 'scheduler'], {
      env: { DATABASE_URL: test.url, REDIS_URL: `redis://default:canary@127.0.0.1:${redis.port}` },
    });
    try {
      await role.waitForLine(
        new RegExp(
          `^purser scheduler is waiting for Redis at 127\\.0\\.0\\.1:${redis.port} \\(REDIS_URL\\)`,
        ),
      );
      expect(role.stderr.filter((line) => line.includes('is running'))).toEqual([]);
      await redis.start();
      await redis.command('ACL', 'SETUSER', 'default', '>canary');
      await role.waitForLine(/^purser scheduler is running \(tenancy \w+, queues in redis\)/);
      expect([...role.stdout, ...role.stderr].filter((line) => line.includes('canary'))).toEqual(
        [],
      );
      role.signal('SIGTERM');
      expect((await role.waitForExit()).code).toBe(0);
    } finally {
      await role.kill();
      await redis.stop();
    }
  }, 60_000);
});
