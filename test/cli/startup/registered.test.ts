/** Nothing of a start happens outside the registry of its steps: in the source, and on the wire of a clean start. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { roleNames, startupSteps, stepOf } from '../../../src/cli/startup/steps.ts';
import type { RoleName } from '../../../src/cli/startup/steps.ts';
import { describeOnRedis } from '../../support/redis.ts';
import { stepNames } from './walk/cases.ts';
import { openLane } from './walk/lane.ts';
import type { Lane } from './walk/lane.ts';

const sourceRoot = join(import.meta.dirname, '../../../src/cli');
const source = readFileSync(join(sourceRoot, 'startup/start-roles.ts'), 'utf8');

/**
 * What is awaited, and what starts without being awaited: only the runner, a function that is given it, and the last
 * line of a start, which nothing waits for.
 */
const outsideSteps = (text: string): string[] =>
  [...text.matchAll(/(?:await |void |\.then\()[^\n]*/g)]
    .map(([line]) => line)
    .filter(
      (line) =>
        !/^(await (step\('|openServiceDatabase\(|startWorkerSteps\(.*, step\))|void announceRunning\(\{)/.test(
          line,
        ),
    );

describe('the source of a start', () => {
  it('awaits steps only, and a planted call outside them is found', () => {
    expect(outsideSteps(source)).toEqual([]);
    const planted = source.replace('  const keys = ', '  await warmUp(database);\n  const keys = ');
    expect(outsideSteps(planted)).toEqual(['await warmUp(database);']);
  });

  it('runs every step of the registry', () => {
    const services = readFileSync(join(sourceRoot, 'runtime/services.ts'), 'utf8');
    const run = [...`${source}${services}`.matchAll(/step\('(\w+)'/g)].map(([, name]) => name);
    expect(new Set(run)).toEqual(new Set(Object.keys(startupSteps)));
    expect(run).toHaveLength(stepNames.length);
  });

  it('is the only one of a role', () => {
    const start = readFileSync(join(sourceRoot, 'commands/start.ts'), 'utf8');
    const imported = [
      ...start.matchAll(/(?:from |import\()'\.\.\/(runtime|startup)\/([\w-]+)\.ts'/g),
    ];
    expect(new Set(imported.map(([, folder, file]) => `${folder}/${file}`))).toEqual(
      new Set(['startup/role-code', 'startup/run-steps', 'startup/start-roles', 'startup/steps']),
    );
  });
});

describeOnRedis('a clean start', () => {
  let lane: Lane;
  beforeAll(async () => {
    lane = await openLane();
  }, 60_000);
  afterAll(() => lane.close());

  const began = (role: RoleName, line: string): string | undefined =>
    new RegExp(`"role":"${role}","step":"(\\w+)".*"event":"startup_step"`).exec(line)?.[1];

  it.each(roleNames)(
    'of a %s runs its steps in their order, and reaches a store only in a step that names it',
    async (role) => {
      const wanted = stepNames.filter((step) => {
        const { roles, optional = false } = stepOf(step);
        return roles.includes(role) && (!optional || step === 'register_job_types');
      });
      const started = await lane.start(role, 'redis', { hold: '*' });
      const count = () => [lane.connections('database'), lane.connections('redis')];
      let before = count();
      const outside: string[] = [];
      const found: string[] = [];
      for (const [index, step] of wanted.entries()) {
        await started.role.waitForLine(new RegExp(`"step":"${step}".*"event":"startup_step"`));
        const now = count();
        const last = wanted[index - 1];
        const stores = last === undefined ? [] : stepOf(last).stores;
        (['database', 'queue_store'] as const).forEach((store, at) => {
          if (now[at] !== before[at] && !stores.includes(store))
            outside.push(`${store} was reached before ${step}, after ${last}`);
        });
        before = now;
        await lane.releaseStep(step);
      }
      await started.role.waitForLine(/^purser \w+ is running/);
      found.push(...started.role.stderr.flatMap((line) => began(role, line) ?? []));
      started.role.signal('SIGTERM');
      expect((await started.role.waitForExit()).code).toBe(0);
      expect([outside, found]).toEqual([[], wanted]);
    },
    60_000,
  );
});
