/** A copied database has the fleet's id: its roles must not use the original's queues in the same Redis. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { eventually } from '../jobs/job-steps.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { runCli, startCli } from '../support/process.ts';
import type { CliProcess } from '../support/process.ts';
import { describeOnRedis, startRedis } from '../support/redis.ts';
import type { TestRedis } from '../support/redis.ts';
import { invokeWith } from '../cli/in-process.ts';

describeOnRedis('a database and its copy on one Redis', () => {
  let redis: TestRedis;
  let original: TestDatabase;
  /** Both come from one template, as a dump and its restore. */
  let copy: TestDatabase;
  const running: CliProcess[] = [];
  beforeAll(async () => {
    redis = await startRedis();
    [original, copy] = await Promise.all([freshDatabase(), freshDatabase()]);
  });
  afterAll(async () => {
    for (const child of running) await child.kill();
    await Promise.all([original.close(), copy.close()]);
    await redis.stop();
  });

  const envOf = ({ url }: TestDatabase) => ({ DATABASE_URL: url, REDIS_URL: redis.url, PORT: '0' });
  const start = async (role: string, test: TestDatabase): Promise<CliProcess> => {
    const child = startCli(['start', role], { env: envOf(test) });
    running.push(child);
    await child.waitForLine(/ is running/);
    return child;
  };
  const marked = (): Promise<unknown> =>
    expect.poll(() => redis.command('KEYS', 'purser:*:user'), { timeout: 20_000 }).toBe('*1');

  it('restarts in order, after a crash and after a flush need no hand', async () => {
    for (const end of ['SIGTERM', 'SIGKILL', 'flush'] as const) {
      const child = await start('scheduler', original);
      await marked();
      if (end === 'flush') await redis.command('FLUSHALL');
      child.signal(end === 'flush' ? 'SIGKILL' : end);
      await child.waitForExit();
    }
    const [first, second] = [await start('scheduler', original), await start('worker', original)];
    await first.kill();
    await second.kill();
    expect([...first.stderr, ...second.stderr].join()).not.toContain('queue_use_not_checked');
  });

  it('a promoted replica needs no hand: the mark follows the heartbeats to it', async () => {
    // The same rows on another server: what a physical replica has.
    const child = await start('scheduler', original);
    await marked();
    const beat = await eventually('the first heartbeat', async () => {
      const [row] = await original.sql`select * from heartbeats where pid = ${child.pid}`;
      return row;
    });
    await child.kill();
    await copy.sql`insert into heartbeats ${copy.sql({ ...beat, known_keys: '{}', metrics: '[]' })}`;
    const promoted = await start('scheduler', copy);
    promoted.signal('SIGTERM');
    expect(await promoted.waitForExit()).toMatchObject({ code: 0 });
    await copy.sql`delete from heartbeats`;
  });

  it.each(['scheduler', 'worker', 'web'])(
    'a %s of the copy ends with 78 and names both, while the original runs',
    async (role) => {
      const child = await start('scheduler', original);
      await marked();
      const { code, stderr } = await runCli(['start', role], {
        env: envOf(copy),
        timeoutMs: 60_000,
      });
      expect([code, stderr]).toEqual([78, expect.stringContaining(`named ${original.name}`)]);
      expect(stderr).toContain(`named ${copy.name}`);
      expect(stderr).toContain('purser queues separate --yes');
      const doctor = await invokeWith(envOf(copy))('doctor');
      expect(doctor.out).toMatch(/fail {2}queues: these queues are in use by scheduler-/);
      await child.kill();
    },
    90_000,
  );

  it('a restored database takes over by itself once the original has ended', async () => {
    await (await start('scheduler', original)).kill();
    const restored = await start('scheduler', copy);
    restored.signal('SIGTERM');
    expect(await restored.waitForExit()).toMatchObject({ code: 0 });
  });

  it('a separated copy runs beside the original, and is refused while roles of its own run', async () => {
    await start('scheduler', original);
    await marked();
    const separate = invokeWith(envOf(copy));
    expect(await separate('queues', 'separate')).toMatchObject({ code: 64 });
    expect(await separate('queues', 'separate', '--yes')).toMatchObject({ code: 0 });
    await start('worker', copy);
    await expect
      .poll(() => separate('queues', 'separate', '--yes'), { timeout: 20_000 })
      .toMatchObject({ code: 1, err: expect.stringContaining('stop the roles') });
  });
});
