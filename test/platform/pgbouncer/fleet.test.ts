import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { emptyDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { runCli } from '../../support/process.ts';
import type { CliProcess } from '../../support/process.ts';
import { startRedis } from '../../support/redis.ts';
import type { TestRedis } from '../../support/redis.ts';
import { redisAvailable } from '../../support/redis-binary.ts';
import { ingestSample, leave, startRole, untilWorkIsDone } from '../fleet.ts';
import type { Environment } from '../fleet.ts';
import { describeThroughPgBouncer, startPgBouncer, watchPooled } from './pgbouncer.ts';
import type { TestPgBouncer } from './pgbouncer.ts';

const poolSize = 3;

const fleets = [
  { level: 'L2', store: 'redis' },
  { level: 'L3', store: 'redis' },
  { level: 'L3', store: 'postgres' },
] as const;

describeThroughPgBouncer('a fleet through PgBouncer in transaction mode', () => {
  describe.each(fleets)('at level $level with queues in $store', ({ level, store }) => {
    const skipped = store === 'redis' && !redisAvailable;
    let database: TestDatabase;
    let pooler: TestPgBouncer;
    let redis: TestRedis | undefined;
    let env: Environment;

    beforeAll(async () => {
      if (skipped) return;
      database = await emptyDatabase();
      pooler = await startPgBouncer({ mode: 'transaction', size: poolSize });
      if (store === 'redis') redis = await startRedis();
      env = {
        DATABASE_URL: pooler.through(database.url),
        DATABASE_DIRECT_URL: database.url,
        TENANT_DATABASE_URL: level === 'L3' ? pooler.through(database.tenantUrl) : undefined,
        REDIS_URL: redis?.url,
      };
    });
    afterAll(async () => {
      if (skipped) return;
      await pooler.stop();
      await redis?.stop();
      await database.close();
    });

    it.skipIf(skipped)(
      'migrates, ingests, analyses and leaves',
      async () => {
        const release = await runCli(['migrate', 'up'], { env });
        expect(release).toMatchObject({ code: 0 });
        const fleet: CliProcess[] = [];
        const pooled = watchPooled(database);
        try {
          for (const role of ['scheduler', 'worker', 'web']) fleet.push(await startRole(role, env));
          expect(fleet[1]?.stderr.join('\n')).toContain(`tenancy ${level}, queues in ${store}`);
          await ingestSample(env);
          const jobs = await untilWorkIsDone(database.sql, pooled.look);
          expect(jobs['cost_ingestion completed']).toBe(12);
          const doctor = await runCli(['doctor', '--json'], { env });
          const findings = JSON.parse(doctor.stdout) as { check: string; level: string }[];
          expect(findings.filter((finding) => finding.level === 'fail')).toEqual([]);
          expect(findings.find(({ check }) => check === 'pooler')).toMatchObject({
            level: 'ok',
            seen: expect.stringContaining('transaction mode'),
          });
          await leave(fleet);
        } finally {
          await Promise.all(fleet.map((child) => child.kill()));
        }
        // More would mean that a process connected past the pooler: directly, the fleet opens up to eleven.
        expect(pooled.most()).toBeGreaterThan(0);
        expect(pooled.most()).toBeLessThanOrEqual(level === 'L3' ? 2 * poolSize : poolSize);
      },
      150_000,
    );
  });
});
