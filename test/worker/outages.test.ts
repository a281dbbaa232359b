/** The walk of the doors of an attempt while the database is away: at none of them an outage costs the job an attempt. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { inject } from 'vitest';
import { z } from 'zod';
import type { Database } from '../../src/db/database.ts';
import { openDatabase } from '../../src/db/database.ts';
import { defineHandler } from '../../src/handlers/define.ts';
import type { JobContext } from '../../src/handlers/define.ts';
import { enqueue } from '../../src/jobs/enqueue.ts';
import type { WorkerService } from '../../src/worker/worker.ts';
import { startProxy } from '../faults/proxy.ts';
import type { Proxy } from '../faults/proxy.ts';
import { addTenant } from '../support/tenants.ts';
import { jobRow } from '../jobs/job-steps.ts';
import { openFleet } from './fleet.ts';
import type { Fleet } from './fleet.ts';

type Context = JobContext<unknown>;
/** `away` resolves when the database is away. */
type Door = (ctx: Context, away: () => Promise<void>) => Promise<unknown>;

const child = 'outage_child';
const doors: Record<string, Door> = {
  'ctx.sql': async ({ sql }, away) => {
    await away();
    return sql`select 1`;
  },
  'ctx.sql.begin, between two statements': ({ sql }, away) =>
    sql.begin(async (tx) => {
      await tx`select 1`;
      await away();
      return tx`select 2`;
    }),
  'the commit with the completion': ({ sql }, away) =>
    sql.begin(
      async (tx) => {
        await tx`select 1`;
        await away();
        return 'done';
      },
      { complete: true },
    ),
  'ctx.enqueue': async (ctx, away) => {
    await away();
    return ctx.enqueue(child);
  },
  'ctx.sql, in an error of the handler': async ({ sql }, away) => {
    await away();
    try {
      return await sql`select 1`;
    } catch (error) {
      const read = new Error('it was read', { cause: error });
      throw wrapped(read);
    }
  },
  'ctx.progress': async ({ progress }, away) => {
    await away();
    progress(0.5, 'half');
    return 'done';
  },
  'ctx.log': async ({ log }, away) => {
    await away();
    log.info('said');
    return 'done';
  },
  finish: async (_, away) => {
    await away();
    return 'done';
  },
};

const wrapped = (cause: unknown): Error => new Error('the report failed', { cause });

const awayMs = 1_500;
type Fault = (proxy: Proxy, fleet: Fleet) => Promise<void>;
const faults: Record<string, Fault> = {
  'refuses connections': async (proxy) => {
    proxy.refuse();
    await sleep(awayMs);
    proxy.pass();
  },
  'resets every connection': async (proxy) => {
    proxy.cut();
    await sleep(1);
  },
  'ends every session': async (_, { test }) => {
    await test.sql`
      select pg_terminate_backend(pid) from pg_stat_activity
      where datname = current_database() and application_name ~ 'purser (far|test executor)'`;
  },
  // Longer than the handlers' timeout.
  'does not answer': async (proxy) => {
    proxy.halfOpen();
    await sleep(4_000);
    proxy.pass();
  },
  'accepts no further sessions': async (_, { test }) => {
    const { name } = test;
    await test.sql`
      select pg_terminate_backend(pid) from pg_stat_activity
      where datname = current_database() and application_name ~ 'purser (far|test executor)'`;
    await test.sql.unsafe(`alter database ${name} connection limit 0`);
    await sleep(awayMs);
    await test.sql.unsafe(`alter database ${name} connection limit -1`);
  },
};

let fleet: Fleet;
let proxy: Proxy;
let far: Database;
let worker: WorkerService;
let tenantId: string;
let reached: Set<string>;
let isAway: Promise<void>;
let goAway: () => void;

beforeAll(async () => {
  fleet = await openFleet(undefined);
});
afterAll(() => fleet.close());
beforeEach(async () => {
  tenantId = await addTenant(fleet.test.sql);
  const { host, port } = inject('testPostgres');
  proxy = await startProxy({ host, port, speaks: 'postgres' });
  far = await openDatabase({
    url: proxy.through(fleet.test.url),
    applicationName: 'purser far',
    systemConnections: 4,
    tenantConnections: 1,
  });
  reached = new Set();
  isAway = new Promise((resolve) => {
    goAway = resolve;
  });
  const handlers = Object.entries(doors).map(([name, door], at) =>
    defineHandler({
      type: typeOf(at),
      timeoutMs: 3_000,
      maxAttempts: 2,
      payload: z.object({}),
      run: async (ctx) => {
        if (reached.has(name)) return 'done';
        return door(ctx, async () => {
          reached.add(name);
          await isAway;
        });
      },
    }),
  );
  worker = await fleet.startWorker(
    [
      ...handlers,
      defineHandler({
        type: child,
        timeoutMs: 1_000,
        maxAttempts: 1,
        payload: z.object({}),
        run: async () => 'done',
      }),
    ],
    { database: far, concurrency: 20 },
    { tenantAccess: far.tenantAccess },
  );
});
afterEach(async () => {
  await worker.stop();
  await far.close();
  await proxy.stop();
});

const typeOf = (at: number): string => `outage_${at}`;

it.each(Object.keys(faults))(
  'a database that %s costs no attempt at any door',
  async (fault) => {
    const ids: string[] = [];
    for (const at of Object.keys(doors).keys()) {
      const { jobId } = await enqueue(fleet.test.sql, { tenantId, jobType: typeOf(at) });
      ids.push(jobId);
    }
    await expect.poll(() => reached.size, { timeout: 10_000 }).toBe(ids.length);
    const waits = faults[fault]?.(proxy, fleet);
    goAway();
    await waits;
    const states = async () =>
      Promise.all(
        ids.map(async (jobId, at) => {
          const { state, attempt, error } = await jobRow(fleet.test.sql, jobId);
          return [Object.keys(doors)[at], state, attempt, error];
        }),
      );
    await expect
      .poll(states, { timeout: 30_000 })
      .toEqual(Object.keys(doors).map((name) => [name, 'completed', 1, null]));
    console.log(`${ids.length} doors while the database ${fault}: no attempt was counted`);
  },
  60_000,
);
