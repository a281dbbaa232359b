import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createLogger } from '../../src/log.ts';
import { openQueueBackend } from '../../src/queues/backend.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { runCli } from '../support/process.ts';
import { describeOnRedis, startRedis } from '../support/redis.ts';
import type { TestRedis } from '../support/redis.ts';
import { makeCertificate } from './certificate.ts';
import type { Certificate } from './certificate.ts';

describeOnRedis('TLS to a Redis with a self-signed certificate that accepts only TLS', () => {
  let certificate: Certificate;
  let redis: TestRedis;
  let database: TestDatabase;

  beforeAll(async () => {
    certificate = await makeCertificate();
    redis = await startRedis(certificate);
    database = await freshDatabase();
  });
  afterAll(async () => {
    await database.close();
    await redis.stop();
    await certificate.remove();
  });

  const plain = (): string => redis.url.replace('rediss:', 'redis:');

  /** The eviction policy or error that a client with this REDIS_TLS_VERIFY gets, and its log. */
  async function read(redisUrl: string, redisTlsVerify: boolean | undefined) {
    const logged: string[] = [];
    const log = createLogger({
      level: 'warn',
      role: 'test',
      destination: { write: (line: string) => logged.push(line) },
    });
    const backend = openQueueBackend({
      redisUrl,
      redisTlsVerify,
      databaseUrl: database.url,
      workers: 1,
      fleetId: 'tls',
      applicationName: 'purser test',
      log,
    });
    try {
      return { policy: await backend.evictionPolicy(), logged };
    } catch (error) {
      return { error, logged };
    } finally {
      await backend.close();
    }
  }

  it('REDIS_TLS_VERIFY=false is encrypted, by rediss:// and by redis://', async () => {
    expect(await read(redis.url, false)).toMatchObject({ policy: 'noeviction' });
    expect(await read(plain(), false)).toMatchObject({ policy: 'noeviction' });
  });

  it.each([
    ['REDIS_TLS_VERIFY=true', true],
    ['rediss:// without the variable', undefined],
  ])('%s refuses it, and names the setting in error and log', async (_, verify) => {
    const seen = await read(redis.url, verify);
    expect(seen).toMatchObject({
      error: {
        code: 'certificate_refused',
        message: expect.stringMatching(/Redis is not trusted.*self-signed.*REDIS_TLS_VERIFY=false/),
      },
    });
    expect(seen.logged.join('')).toMatch(/REDIS_TLS_VERIFY=false/);
  });

  it('redis:// without the variable is not encrypted, so this server refuses it', async () => {
    expect(await read(plain(), undefined)).not.toHaveProperty('policy');
  });

  it('a Redis without TLS is named as such, where it waits for the end of a command', async () => {
    const bare = await startRedis();
    const { error, logged } = await read(bare.url.replace('redis:', 'rediss:'), undefined);
    const byVariable = await read(bare.url, true);
    await bare.stop();
    for (const seen of [error, byVariable.error]) {
      expect(seen).toMatchObject({
        code: 'tls_unavailable',
        message: expect.stringMatching(/Redis was asked for TLS.*use a redis:\/\/ URL/),
      });
    }
    expect(logged.join('')).toContain('Redis was asked for TLS');
  });

  it('closing during a handshake throws no uncaught error', async () => {
    const uncaught: unknown[] = [];
    const note = (error: unknown) => uncaught.push(error);
    process.prependListener('uncaughtExceptionMonitor', note);
    for (let waitMs = 0; waitMs < 20; waitMs += 2) {
      const backend = openQueueBackend({
        redisUrl: redis.url,
        redisTlsVerify: true,
        databaseUrl: database.url,
        workers: 1,
        fleetId: 'tls',
        applicationName: 'purser test',
        log: createLogger({ level: 'silent', role: 'test' }),
      });
      await sleep(waitMs);
      await backend.close();
    }
    // Until the server has answered the last of them.
    await sleep(200);
    process.off('uncaughtExceptionMonitor', note);
    expect(uncaught).toEqual([]);
  });

  it('doctor reports the refused certificate, and passes once its authority is trusted', async () => {
    const queues = async (env: Record<string, string>) => {
      const { stdout } = await runCli(['doctor', '--json'], {
        env: { DATABASE_URL: database.url, REDIS_URL: redis.url, ...env },
      });
      const findings = JSON.parse(stdout) as { check: string }[];
      return findings.find(({ check }) => check === 'queues');
    };
    expect(await queues({ REDIS_TLS_VERIFY: 'true' })).toMatchObject({
      level: 'fail',
      seen: expect.stringMatching(/Redis is not trusted.*REDIS_TLS_VERIFY=false/),
    });
    expect(await queues({ NODE_EXTRA_CA_CERTS: certificate.certificate })).toMatchObject({
      level: 'ok',
    });
  });
});
