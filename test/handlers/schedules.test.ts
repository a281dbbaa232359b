/** Schedules in the module of PURSER_HANDLERS: a bad one is refused with the reason and the fix. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { registerOwn } from '../../src/cli/runtime/register-own.ts';
import { defineHandler } from '../../src/handlers/define.ts';
import { toJobType } from '../../src/handlers/job-types.ts';
import { withSchedules } from '../../src/handlers/load-schedules.ts';
import { loadHandlers } from '../../src/handlers/load.ts';
import { defineSchedule } from '../../src/schedules/define.ts';
import { freshDatabase } from '../support/database.ts';

const handlerOf = (type: string, payload: z.ZodType = z.object({})) =>
  defineHandler({ type, timeoutMs: 1_000, maxAttempts: 1, payload, run: () => Promise.resolve() });
const handlers = [
  handlerOf('nightly_report'),
  handlerOf('needs_days', z.object({ days: z.number() })),
  handlerOf('with_default', z.object({ days: z.number().default(7) })),
];

const refuse = (fault: string): never => {
  throw new Error(fault);
};
const load = (given: unknown) => withSchedules(handlers, given, refuse);
const nightly = { jobType: 'nightly_report', cron: '0 3 * * *' };

describe('defineSchedule', () => {
  it('fills in its defaults', () => {
    expect(defineSchedule(nightly)).toEqual({
      ...nightly,
      zone: 'UTC',
      splaySeconds: 0,
      missed: 'once',
      missedMost: 24,
      cohorts: ['high_value', 'active', 'dormant'],
    });
  });

  it.each([
    [{ jobType: 'Nightly' }, /job type "Nightly" is not allowed/],
    [{ cron: '0 25 * * *' }, /cannot use the cron expression "0 25 \* \* \*"/],
    [{ zone: 'Mars/Base' }, /in zone "Mars\/Base"/],
    [{ splaySeconds: 86_400 }, /not smaller than the interval .* use 86399 s at most/],
    [{ splaySeconds: -1 }, /splaySeconds must be a whole number/],
    [{ missed: 'some' }, /missed must be one of skip, once, all/],
    [{ missedMost: 0 }, /missedMost must be a whole number from 1 to 1000/],
    [{ cohorts: [] }, /cohorts must be an array of at least one of/],
    [{ cohorts: ['rich'] }, /no cohort "rich"; use high_value, active, dormant/],
    [{ cohorts: ['active', 'active'] }, /names a cohort twice/],
  ])('refuses %j', (change, fault) => {
    expect(() => defineSchedule({ ...nightly, ...change } as never)).toThrow(fault);
    expect(() => defineSchedule({ ...nightly, ...change } as never)).toThrow(/^schedule of "/);
  });
});

describe('a module', () => {
  it('gives each handler its schedules', async () => {
    const loaded = await load([
      { ...nightly, cohorts: ['high_value'] },
      { ...nightly, cron: '0 4 * * *', cohorts: ['dormant'] },
      defineSchedule({ jobType: 'with_default', cron: '*/5 * * * *' }),
    ]);
    expect(loaded.map(({ schedules }) => schedules?.length)).toEqual([2, 0, 1]);
  });

  it.each([
    ['no array', {}, /`schedules` must be an array/],
    [
      'a type without a handler',
      [{ ...nightly, jobType: 'other' }],
      /schedules\[0\]: the module has no handler of the job type "other"; it has nightly_report, needs_days, with_default/,
    ],
    ['a misspelt property', [{ ...nightly, splay: 1 }], /schedules\[0\]: .*splay/],
    [
      'a bad expression',
      [nightly, { jobType: 'with_default', cron: 'daily' }],
      /schedules\[1\]: .*"daily"/,
    ],
    [
      'a payload that must have fields',
      [{ ...nightly, jobType: 'needs_days' }],
      /a scheduled job has the payload {}, which its handler refuses .*days.*give its fields defaults/,
    ],
    [
      'two for one cohort',
      [nightly, { ...nightly, cohorts: ['active'] }],
      /schedules\[1\]: schedules\[0\] is for nightly_report and one of these cohorts too/,
    ],
  ])('with %s is refused', async (_what, given, fault) => {
    await expect(load(given)).rejects.toThrow(fault);
  });
});

describe('a module on disk', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'purser-schedules-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  it('is refused by name', async () => {
    const path = join(folder, 'bad.mjs');
    await writeFile(
      path,
      `export const handlers = [{ type: 'own', timeoutMs: 1, maxAttempts: 1, async run() {} }];
       export const schedules = [{ jobType: 'own', cron: 'never' }];`,
    );
    await expect(loadHandlers(path)).rejects.toMatchObject({
      code: 'invalid_handlers',
      exitCode: 78,
      message: expect.stringMatching(/^PURSER_HANDLERS=.*bad\.mjs: schedules\[0\]: .*"never"/),
    });
  });
});

it('what an operator has changed stays, and what is new is added', async () => {
  const database = await freshDatabase();
  try {
    const { sql } = database;
    const start = async (cron: string, cohorts: readonly ('high_value' | 'active')[]) => {
      const loaded = await load([{ ...nightly, cron, cohorts }]);
      const own = loaded.map((handler) => ({
        ...toJobType(handler),
        schedules: handler.schedules ?? [],
      }));
      await registerOwn(sql, own);
    };
    const stored = () => sql`
      select cohort, cron from schedules where job_type = 'nightly_report' order by cohort`;
    await start('0 3 * * *', ['high_value']);
    await sql`update schedules set cron = '0 6 * * *' where job_type = 'nightly_report'`;
    await start('0 4 * * *', ['high_value', 'active']);
    expect(await stored()).toEqual([
      { cohort: 'active', cron: '0 4 * * *' },
      { cohort: 'high_value', cron: '0 6 * * *' },
    ]);
  } finally {
    await database.close();
  }
});
