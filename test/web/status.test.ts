/** /status: whether the fleet works. 503 names the parts that do not; /readyz and reading pages stay up meanwhile. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { z } from 'zod';
import { writeHeartbeat } from '../../src/db/heartbeats.ts';
import { enqueue } from '../../src/jobs/enqueue.ts';
import { addJobType } from '../jobs/job-steps.ts';
import { describeOnRedis, startRedis } from '../support/redis.ts';
import type { TestRedis } from '../support/redis.ts';
import { startFixture } from './web-fixture.ts';
import type { WebFixture } from './web-fixture.ts';

const wait = { timeout: 20_000, interval: 200 };
const stalledAfterMs = 1_500;
/** A status is kept for 1 s. */
const keptMs = 1_200;

const answer = z.object({
  working: z.boolean(),
  problems: z.array(z.object({ part: z.string(), reason: z.string() })),
  lastDispatchAt: z.iso.datetime().nullable(),
  lastEndAt: z.iso.datetime().nullable(),
});

async function status(fixture: WebFixture): Promise<[number, string[]]> {
  const response = await fetch(`${fixture.url}/status`);
  const { working, problems } = answer.parse(await response.json());
  expect(working).toBe(response.status === 200);
  return [response.status, problems.map(({ part, reason }) => `${part}: ${reason}`)];
}

const untilWorking = (fixture: WebFixture): Promise<unknown> =>
  vi.waitUntil(async () => (await status(fixture))[0] === 200, wait);

/** Status codes of /readyz and of the pages that only read. */
async function readingPages(fixture: WebFixture): Promise<Record<string, number>> {
  const paths = ['/readyz', '/queues', '/queues/api/queues?activeQueue=report', '/metrics'];
  return Object.fromEntries(
    await Promise.all(
      paths.map(async (path) => [path, (await fixture.request(path)).status] as const),
    ),
  );
}
const allUp = {
  '/readyz': 200,
  '/queues': 200,
  '/queues/api/queues?activeQueue=report': 200,
  '/metrics': 200,
};

async function beat(
  fixture: WebFixture,
  role: 'scheduler' | 'worker',
  jobTypes: readonly string[] = role === 'worker' ? ['report'] : [],
): Promise<void> {
  await writeHeartbeat(fixture.test.sql, {
    processId: `${role}-1`,
    role,
    version: '1',
    hostname: 'host',
    pid: 1,
    jobTypes,
    typeSlots: jobTypes.map(() => 5),
    slots: 5,
    running: 0,
    progressedAt: new Date(),
    metrics: [],
  });
}

describe('the status of a fleet', () => {
  let fixture: WebFixture;
  beforeAll(async () => {
    fixture = await startFixture(undefined, { stalledAfterMs });
  });
  beforeEach(async () => {
    await fixture.test.sql`delete from background_jobs`;
    await beat(fixture, 'scheduler');
    await beat(fixture, 'worker');
    await untilWorking(fixture);
  });
  afterAll(() => fixture.close());

  const job = async (runAt = new Date(Date.now() - 60_000)): Promise<string> => {
    const { tenantId } = fixture;
    return (await enqueue(fixture.test.sql, { tenantId, jobType: 'report', runAt })).jobId;
  };
  const queuedForAMinute = (jobId: string) => fixture.test.sql`
    update background_jobs set state = 'queued', queued_at = now() - interval '1 minute'
    where id = ${jobId}`;

  it('names the role without a live process', async () => {
    await fixture.test.sql`delete from heartbeats where role = 'scheduler'`;
    await expect.poll(() => status(fixture), wait).toEqual([503, ['scheduler: none_live']]);
    await fixture.test.sql`delete from heartbeats where role = 'worker'`;
    await expect
      .poll(() => status(fixture), wait)
      .toEqual([503, ['scheduler: none_live', 'worker: none_live']]);
  });

  it('names jobs of a type that no live worker runs, also queued ones, unless the type is paused', async () => {
    await beat(fixture, 'worker', ['another']);
    const jobId = await job();
    await expect.poll(() => status(fixture), wait).toEqual([503, ['job_types: no_worker']]);
    await queuedForAMinute(jobId);
    await sleep(keptMs);
    expect(await status(fixture)).toEqual([503, ['job_types: no_worker']]);
    await fixture.test.sql`
      insert into pauses (scope, name, reason, by) values ('job_type', 'report', 'r', 'alice')`;
    await expect.poll(() => status(fixture), wait).toEqual([200, []]);
    await fixture.test.sql`delete from pauses`;
  });

  it('names a dispatch that stands still while its queue has room, unless a limit is reached', async () => {
    await job();
    await expect.poll(() => status(fixture), wait).toEqual([503, ['dispatch: stalled']]);
    await fixture.test.sql`insert into job_limits (job_type, max_running) values ('report', 0)`;
    await expect.poll(() => status(fixture), wait).toEqual([200, []]);
    await fixture.test.sql`delete from job_limits`;
    const dispatched = (jobType: string) => fixture.test.sql`
      insert into purser.dispatch_turns (job_type, dispatched_at) values (${jobType}, now())
      on conflict (job_type) do update set dispatched_at = now()`;
    await dispatched('report_of_another_type');
    await sleep(keptMs);
    expect(await status(fixture)).toEqual([503, ['dispatch: stalled']]);
    await dispatched('report');
    await expect.poll(() => status(fixture), wait).toEqual([200, []]);
  });

  it('counts no job that is not due yet, and none that waits for a full queue', async () => {
    await job(new Date(Date.now() + 600_000));
    const queued = await Promise.all(Array.from({ length: 10 }, () => job()));
    await fixture.test.sql`
      update background_jobs set state = 'queued', queued_at = now()
      where id = any(${queued}::bigint[])`;
    await job();
    await sleep(keptMs);
    expect(await status(fixture)).toEqual([200, []]);
  });

  it('names queued jobs that are not begun although a worker has a free slot', async () => {
    await queuedForAMinute(await job());
    await expect.poll(() => status(fixture), wait).toEqual([503, ['worker: stalled']]);
    await fixture.test.sql`update heartbeats set running = slots where role = 'worker'`;
    await expect.poll(() => status(fixture), wait).toEqual([200, []]);
  });

  it('names them while jobs of another type begin, and not once one of theirs did', async () => {
    const { sql } = fixture.test;
    await addJobType(sql, 'other');
    await queuedForAMinute(await job());
    const begun = async (jobType: string): Promise<void> => {
      const { tenantId } = fixture;
      const { jobId: id } = await enqueue(sql, { tenantId, jobType });
      await sql`update background_jobs set state = 'queued' where id = ${id}`;
      await sql`update background_jobs set state = 'running', lease_owner = 'w' where id = ${id}`;
    };
    const statusAfter = async (jobType: string) => {
      await begun(jobType);
      return status(fixture);
    };
    await expect.poll(() => statusAfter('other'), wait).toEqual([503, ['worker: stalled']]);
    await expect.poll(() => statusAfter('report'), wait).toEqual([200, []]);
  });

  it('is 503 on a database that became read-only, while reading pages stay up, and recovers', async () => {
    const { sql, name } = fixture.test;
    await sql`alter database ${sql(name)} set default_transaction_read_only = on`;
    // The web process connects again; the sessions of the test stay able to write.
    await sql`
      select pg_terminate_backend(pid) from pg_stat_activity
      where datname = current_database() and application_name <> 'purser test'
        and backend_type = 'client backend'`;
    await expect
      .poll(() => status(fixture), wait)
      .toEqual([503, ['postgres: read_only', 'queue_store: read_only']]);
    await expect.poll(() => readingPages(fixture), wait).toEqual(allUp);
    // Sessions keep the setting, as those to a demoted primary do: the process has to drop them itself.
    await sql`alter database ${sql(name)} reset default_transaction_read_only`;
    await beat(fixture, 'scheduler');
    await beat(fixture, 'worker');
    await expect.poll(() => status(fixture), wait).toEqual([200, []]);
  });
});

describe('a web process whose sessions became read-only', () => {
  it('drops them and writes its heartbeat again, although nobody asks for the status', async () => {
    const fixture = await startFixture();
    const { sql, name } = fixture.test;
    const age = async (): Promise<number> => {
      const [row] = await sql<{ seconds: number }[]>`
        select extract(epoch from now() - beat_at)::float8 as seconds from heartbeats`;
      return row?.seconds ?? Infinity;
    };
    try {
      await sql`alter database ${sql(name)} set default_transaction_read_only = on`;
      await sql`
        select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and application_name like 'purser test role%'`;
      await expect.poll(() => fixture.logged.join(''), wait).toContain('"code":"25006"');
      await sql`alter database ${sql(name)} reset default_transaction_read_only`;
      await expect.poll(age, wait).toBeGreaterThan(3);
      await expect.poll(age, wait).toBeLessThan(3);
    } finally {
      await fixture.close();
    }
  });
});

describeOnRedis('the status of a fleet with queues in Redis', () => {
  let redis: TestRedis;
  let fixture: WebFixture;
  beforeAll(async () => {
    redis = await startRedis();
    fixture = await startFixture(redis.url);
  });
  beforeEach(async () => {
    await beat(fixture, 'scheduler');
    await beat(fixture, 'worker');
    await untilWorking(fixture);
  });
  afterAll(async () => {
    await fixture.close();
    await redis.stop();
  });

  it('is 503 while Redis is out of memory, and reading pages stay up', async () => {
    await redis.command('CONFIG', 'SET', 'maxmemory', '1');
    await expect.poll(() => status(fixture), wait).toEqual([503, ['queue_store: refuses_writes']]);
    expect(await readingPages(fixture)).toEqual(allUp);
    await redis.command('CONFIG', 'SET', 'maxmemory', '0');
    await expect.poll(() => status(fixture), wait).toEqual([200, []]);
  });

  it('is 503 while Redis is a read-only replica, and reading pages stay up', async () => {
    await redis.command('REPLICAOF', '127.0.0.1', '1');
    await expect.poll(() => status(fixture), wait).toEqual([503, ['queue_store: read_only']]);
    expect(await readingPages(fixture)).toEqual(allUp);
    await redis.command('REPLICAOF', 'NO', 'ONE');
    await expect.poll(() => status(fixture), wait).toEqual([200, []]);
  });

  it('is 503 while Redis is unreachable, and the process stays ready', async () => {
    await redis.kill();
    await expect.poll(() => status(fixture), wait).toEqual([503, ['queue_store: not_reachable']]);
    expect((await fetch(`${fixture.url}/readyz`)).status).toBe(200);
    await redis.start();
    await expect.poll(() => status(fixture), wait).toEqual([200, []]);
  });
});
