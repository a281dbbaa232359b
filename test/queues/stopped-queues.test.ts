/**
 * What stops or limits one queue in the store, by hand or by another tool, is named by doctor and /status, with its
 * fix. The walk covers every key of a BullMQ queue on Redis; each entry of it runs against a live worker.
 */
import { payloadDoor } from '../../src/cli/runtime/payload-door.ts';
import { loadKeyConfig } from '../../src/config.ts';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { defineHandler } from '../../src/handlers/define.ts';
import { listJobTypes } from '../../src/jobs/registration.ts';
import { queueKeyTypes } from '../../src/queues/key-types.ts';
import { readQueueStops } from '../../src/queues/stops.ts';
import { createWebApp } from '../../src/web/app.ts';
import { invokeWith } from '../cli/in-process.ts';
import type { Invoke } from '../cli/in-process.ts';
import { addJob, jobRow, untilState } from '../jobs/job-steps.ts';
import { silentLog } from '../support/llm-attempt.ts';
import { describeOnRedis, startRedis } from '../support/redis.ts';
import type { TestRedis } from '../support/redis.ts';
import { addTenant } from '../support/tenants.ts';
import type { Fleet } from '../worker/fleet.ts';
import { openFleet } from '../worker/fleet.ts';

const handlerOf = (type: string) =>
  defineHandler({
    type,
    timeoutMs: 20_000,
    maxAttempts: 1,
    payload: z.object({}),
    run: async () => 'ran',
  });
const stopped = 'stopped_step';
const other = 'other_step';

interface Walked {
  readonly fleet: Fleet;
  readonly invoke: Invoke;
  readonly tenantId: string;
}

async function open(redisUrl: string | undefined): Promise<Walked> {
  const fleet = await openFleet(redisUrl);
  await fleet.startWorker([handlerOf(stopped), handlerOf(other)]);
  const env = { DATABASE_URL: fleet.test.url, REDIS_URL: redisUrl };
  return { fleet, invoke: invokeWith(env), tenantId: await addTenant(fleet.test.sql) };
}

/** What doctor and /status say of single queues. */
async function reported({ fleet, invoke }: Walked) {
  const doctor: { check: string; level: string; seen: string; fix?: string }[] = JSON.parse(
    (await invoke('doctor', '--json')).out,
  );
  const app = createWebApp({
    ...fleet,
    jobTypes: () => listJobTypes(fleet.database.system),
    credentials: { user: 'u', password: 'p' },
    payloads: payloadDoor(
      { ...loadKeyConfig({}), PURSER_HANDLERS: undefined, PURSER_BUILTINS: [] },
      fleet.database.system,
    ),
    log: silentLog,
    version: '1',
  });
  const status: { problems: { part: string }[] } = JSON.parse(
    await (await app.request('/status')).text(),
  );
  return {
    doctor: doctor.find(({ check }) => check === 'queues'),
    status: status.problems.filter(({ part }) => part === 'queue'),
  };
}

const fix = `purser resume --type=${stopped}`;

/** A job of the stopped queue waits there while one of the other queue runs, and runs after `mend`. */
async function stopsUntil(
  { fleet, tenantId }: Walked,
  examine: () => Promise<void>,
  mend: () => Promise<unknown>,
): Promise<void> {
  const { sql } = fleet.test;
  const waiting = await addJob(sql, tenantId, { jobType: stopped });
  await untilState(sql, await addJob(sql, tenantId, { jobType: other }), 'completed');
  await examine();
  expect(['pending', 'queued']).toContain((await jobRow(sql, waiting)).state);
  await mend();
  await untilState(sql, waiting, 'completed');
}

/** By hand, as BullMQ's own methods do it. */
const byHand: readonly [string, (walked: Walked) => Promise<unknown>, string, RegExp][] = [
  ['a pause', ({ fleet }) => fleet.transport.queue(stopped).pause(), 'paused', /is paused/],
  [
    'a global concurrency of 0',
    ({ fleet }) => fleet.transport.queue(stopped).setGlobalConcurrency(0),
    'concurrency',
    /concurrency is 0/,
  ],
  [
    'a rate limit that is used up',
    async ({ fleet, tenantId }) => {
      await fleet.transport.queue(stopped).setGlobalRateLimit(1, 3_600_000);
      const used = await addJob(fleet.test.sql, tenantId, { jobType: stopped });
      await untilState(fleet.test.sql, used, 'completed');
    },
    'rate_limit',
    /rate limit of 1 per 3600 s holds it for 3[56]\d\d s more/,
  ],
];

const walkByHand = (walked: () => Walked): void => {
  it.each(byHand)('%s is named, and purser resume ends it', async (_, stop, reason, seen) => {
    await stop(walked());
    await stopsUntil(
      walked(),
      async () => {
        expect(await reported(walked())).toMatchObject({
          doctor: { level: 'fail', seen: expect.stringMatching(seen), fix },
          status: [{ part: 'queue', reason, queue: stopped, fix }],
        });
      },
      async () =>
        expect(await walked().invoke('resume', '--type', stopped)).toMatchObject({
          code: 0,
          out: expect.stringMatching(seen),
        }),
    );
    expect(await reported(walked())).toMatchObject({ doctor: { level: 'ok' }, status: [] });
  });

  it('a limit that lets jobs run is a warning, and no fault of the fleet', async () => {
    const queue = walked().fleet.transport.queue(stopped);
    await queue.setGlobalConcurrency(2);
    await queue.setGlobalRateLimit(100, 1_000);
    expect(await reported(walked())).toMatchObject({
      doctor: { level: 'warn', seen: expect.stringMatching(/concurrency is 2.*100 per 1 s/), fix },
      status: [],
    });
    expect(await walked().invoke('resume', '--type', stopped)).toMatchObject({ code: 0 });
    expect(await reported(walked())).toMatchObject({ doctor: { level: 'ok' }, status: [] });
  });
};

describe('a queue in Postgres', () => {
  let walked: Walked;
  beforeAll(async () => {
    walked = await open(undefined);
  });
  afterAll(() => walked.fleet.close());
  walkByHand(() => walked);
});

describeOnRedis('a queue in Redis', () => {
  let redis: TestRedis;
  let walked: Walked;
  const key = (name: string) =>
    `purser:${walked.fleet.database.fleetId.slice(0, 8)}:${stopped}:${name}`;
  beforeAll(async () => {
    redis = await startRedis();
    walked = await open(redis.url);
  });
  beforeEach(async () => {
    const { sql } = walked.fleet.test;
    const used = await addJob(sql, walked.tenantId, { jobType: stopped });
    await untilState(sql, used, 'completed');
  });
  afterAll(async () => {
    await walked.fleet.close();
    await redis.stop();
  });
  walkByHand(() => walked);

  it.each([
    ['concurrency', 'many'],
    ['max', 'many'],
  ])('meta.%s that is no number is named as damaged', async (field, value) => {
    await redis.command('HSET', key('meta'), field, value);
    await expect(readQueueStops(walked.fleet, [stopped])).resolves.toEqual([
      expect.objectContaining({ cause: 'damaged', stands: true, fix }),
    ]);
    await walked.invoke('resume', '--type', stopped);
    expect(await reported(walked)).toMatchObject({ doctor: { level: 'ok' }, status: [] });
  });

  it.each(Object.keys(queueKeyTypes))('a key %s of another type is named', async (name) => {
    const [command, ...words] =
      queueKeyTypes[name] === 'string' ? ['RPUSH', 'x'] : ['SET', 'not a key of BullMQ'];
    await redis.command('DEL', key(name));
    await redis.command(command ?? '', key(name), ...words);
    expect(await reported(walked)).toMatchObject({
      doctor: {
        level: 'fail',
        seen: expect.stringContaining(`its key ${key(name)} is a `),
        fix: expect.stringContaining(`DEL ${key(name)}`),
      },
      status: [{ part: 'queue', reason: 'damaged', queue: stopped }],
    });
    await redis.command('DEL', key(name));
    expect(await reported(walked)).toMatchObject({ doctor: { level: 'ok' }, status: [] });
  });

  it.each([
    ['meta deleted', ['DEL', 'meta']],
    ['the marker deleted', ['DEL', 'marker']],
    ['a marker far in the future', ['ZADD', 'marker', '9999999999999', '1']],
    ['a delayed entry far in the future', ['ZADD', 'delayed', '36028797018963967', 'far']],
  ])('%s stops nothing', async (_, [command = '', name = '', ...words]) => {
    await redis.command(command, key(name), ...words);
    const { sql } = walked.fleet.test;
    const jobId = await addJob(sql, walked.tenantId, { jobType: stopped });
    expect(await untilState(sql, jobId, 'completed')).toMatchObject({ state: 'completed' });
    await redis.command('DEL', key('delayed'));
  });
});
