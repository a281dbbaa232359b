/**
 * Mistakes of a handler that would be lost without a word: it returns while a call of its context is running, or returns
 * an outcome where only a result counts.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { z } from 'zod';
import { enqueue } from '../../src/handlers/client.ts';
import { defineHandler } from '../../src/handlers/define.ts';
import { cancel, done, park, retry, snooze } from '../../src/handlers/outcome.ts';
import type { JobContext } from '../../src/handlers/define.ts';
import { jobRow, step, untilState } from '../jobs/job-steps.ts';
import { addTenant } from '../support/tenants.ts';
import { openFleet } from './fleet.ts';
import type { Fleet } from './fleet.ts';

const ignore = () => {};
const left = 'call_not_awaited';

const acts: Readonly<Record<string, [(ctx: JobContext<unknown>) => unknown, string | undefined]>> =
  {
    'a statement': [(ctx) => void ctx.sql`select 1`.catch(ignore), left],
    'a text': [(ctx) => void ctx.sql.unsafe('select 1').catch(ignore), left],
    'a transaction': [(ctx) => void ctx.sql.begin(() => sleep(20)).catch(ignore), left],
    'a child job': [(ctx) => void ctx.enqueue(step).catch(ignore), left],
    'an LLM call': [
      (ctx) => void ctx.llm.generate({ system: '', prompt: 'x', maxOutputTokens: 1 }).catch(ignore),
      left,
    ],
    'the slower of two': [(ctx) => Promise.race([ctx.sql`select pg_sleep(1)`, sleep(5)]), left],
    'a failed one beside another': [
      (ctx) => Promise.all([ctx.sql`select pg_sleep(1)`, ctx.sql`select 1 / 0`]).catch(ignore),
      left,
    ],
    'awaited calls': [
      async (ctx) => {
        await Promise.allSettled([ctx.sql`select 1`, ctx.sql`select 1 / 0`]);
        await ctx.sql.begin((tx) => tx`select 1`);
      },
      undefined,
    ],
    'calls that ended before it': [(ctx) => (void ctx.sql`select 1`, sleep(500)), undefined],
  };

/** As a handler in plain JavaScript may call it. */
// oxlint-disable-next-line typescript/no-unsafe-type-assertion
const asFunction = (sql: unknown) => sql as (...given: readonly unknown[]) => never;
const unsafeOf = (sql: object) => asFunction(Reflect.get(sql, 'unsafe'));
const misused = 'invalid_argument';
const idioms: typeof acts = {
  'a statement as a part of another one': [
    ({ sql }) => sql`select 1 ${asFunction(sql)(Object.assign(['where true'], { raw: [''] }))}`,
    misused,
  ],
  'a name of a table': [({ sql }) => sql`select * from ${asFunction(sql)('tenants')}`, misused],
  'a list of columns': [({ sql }) => asFunction(sql)(['id', 'plan']), misused],
  'a text that is no template': [({ sql }) => asFunction(sql)('select 1'), misused],
  'a value that was not awaited': [
    ({ sql }) => sql`select ${asFunction(() => Promise.resolve(1))()}`,
    misused,
  ],
  'a text that is none': [({ sql }) => unsafeOf(sql)(7), misused],
  'parameters that are no list': [({ sql }) => unsafeOf(sql)('select $1', 'x'), misused],
  'parts and names in a transaction': [
    ({ sql }) => sql.begin((tx) => tx`select 1 from ${tx('tenants')} ${tx`where true`}`),
    undefined,
  ],
};

const complete = { complete: true };
const wrong = 'invalid_outcome';
const completing: typeof acts = {
  'a retry that completes': [
    (ctx) => ctx.sql.begin(async () => retry({ reason: 'x' }), complete),
    wrong,
  ],
  'a snooze that completes': [
    (ctx) => ctx.sql.begin(async () => snooze({ reason: 'x', afterMs: 1 }), complete),
    wrong,
  ],
  'a cancel that completes': [
    (ctx) => ctx.sql.begin(async () => cancel({ reason: 'x' }), complete),
    wrong,
  ],
  'a park that completes': [
    (ctx) => ctx.sql.begin(async () => park({ reason: 'x', neededUsd: '1' }), complete),
    wrong,
  ],
  'a park until the end of time': [
    async () => park({ reason: 'x', neededUsd: '1', until: new Date(8.64e15) }),
    wrong,
  ],
  'a done that completes': [(ctx) => ctx.sql.begin(async () => done('made'), complete), undefined],
};
const allActs = { ...acts, ...idioms, ...completing };

const handler = defineHandler({
  type: 'test_leaves_calls',
  timeoutMs: 20_000,
  maxAttempts: 1,
  payload: z.object({ how: z.string() }),
  run: async (ctx) => {
    await allActs[ctx.payload.how]?.[0](ctx);
  },
});

let fleet: Fleet;
let tenantId: string;
beforeAll(async () => {
  fleet = await openFleet(undefined);
  await fleet.startWorker([handler, { ...handler, type: step, payload: z.object({}) }]);
  tenantId = await addTenant(fleet.test.sql);
});
afterAll(() => fleet.close());

it.each(Object.keys(allActs))('%s', async (how) => {
  const { sql } = fleet.test;
  const { jobId } = await enqueue(sql, handler, { tenantId, payload: { how } });
  const code = allActs[how]?.[1];
  await untilState(sql, jobId, code === undefined ? 'completed' : 'dead_letter');
  expect(await jobRow(sql, jobId)).toMatchObject({
    error: code === undefined ? null : { code },
  });
});

it('a done that completes a transaction is its result', async () => {
  const { sql } = fleet.test;
  const payload = { how: 'a done that completes' };
  const { jobId } = await enqueue(sql, handler, { tenantId, payload });
  await untilState(sql, jobId, 'completed');
  expect(await jobRow(sql, jobId)).toMatchObject({ result: 'made' });
});
