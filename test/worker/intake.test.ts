/** When jobs may begin and run: within the slots, and ahead of them within a limit, and when entries are taken. */
import { AbortSource } from '../../src/worker/executors/abort-source.ts';
import { describe, expect, it } from 'vitest';
import { begunAheadOf, Intake } from '../../src/worker/intake.ts';
import type { Place } from '../../src/worker/intake.ts';

const abort = new AbortSource();

function intakeOf(concurrency: number, ahead: Readonly<Record<string, number>>, recallMs?: number) {
  const heard: string[] = [];
  const intake = new Intake({
    concurrency,
    recallMs,
    limits: new Map(Object.keys(ahead).map((jobType) => [jobType, concurrency])),
    aheadOf: (jobType) => ahead[jobType] ?? 0,
    pause: (jobType) => heard.push(`pause ${jobType}`),
    resume: (jobType) => heard.push(`resume ${jobType}`),
  });
  const begin = async (jobType: string, alone = false): Promise<Place> => {
    const place = await intake.toBegin(jobType, alone);
    if (place === undefined) throw new Error('no place');
    return place;
  };
  return { intake, begin, heard };
}

it('a job of a long type begins only when it may run, and a full worker takes no entries', async () => {
  const { intake, begin, heard } = intakeOf(1, { long: 0 });
  const first = await (await begin('long')).toRun(abort);
  expect(heard).toEqual(['pause long']);
  const second = begin('long');
  first?.();
  expect(intake.free).toBe(0);
  expect(heard).toEqual(['pause long']);
  (await second).leave();
  expect(heard).toEqual(['pause long', 'resume long']);
});

it('jobs of a short type begin ahead, up to their limit, and run in order', async () => {
  const { begin, heard } = intakeOf(1, { short: 2 });
  const first = await (await begin('short')).toRun(abort);
  const order: string[] = [];
  const run = async (name: string, place: Place) => {
    const release = await place.toRun(abort);
    order.push(name);
    release?.();
  };
  const runs = [run('a', await begin('short'))];
  expect(heard).toEqual([]);
  runs.push(run('b', await begin('short')));
  expect(heard).toEqual(['pause short']);
  let begun = false;
  const third = begin('short').then((place) => {
    begun = true;
    return run('c', place);
  });
  await new Promise(setImmediate);
  expect(begun).toBe(false);
  first?.();
  await Promise.all([...runs, third]);
  expect(order).toEqual(['a', 'b', 'c']);
  expect(heard.at(-1)).toBe('resume short');
});

it('a job that was lost begins only when it may run, whatever its type', async () => {
  const { begin } = intakeOf(1, { short: 10 });
  const first = await (await begin('short')).toRun(abort);
  let begun = false;
  const alone = begin('short', true).then((place) => {
    begun = true;
    return place;
  });
  (await begin('short')).leave();
  await new Promise(setImmediate);
  expect(begun).toBe(false);
  first?.();
  expect(await (await alone).toRun(abort)).toBeTypeOf('function');
});

it('while jobs of a short type are begun ahead, a long type takes no entries, and gets the next free slot in turn', async () => {
  const { begin, heard } = intakeOf(2, { short: 4, long: 0 });
  const running = [
    await (await begin('short')).toRun(abort),
    await (await begin('short')).toRun(abort),
  ];
  expect(heard).toEqual(['pause long']);
  const ahead = (await begin('short')).toRun(abort);
  const long = begin('long');
  for (const release of running) release?.();
  await ahead;
  expect(await (await long).toRun(abort)).toBeTypeOf('function');
});

it('what is begun ahead goes back when it is aborted, or when the worker stops', async () => {
  const { intake, begin } = intakeOf(1, { short: 10 });
  await (await begin('short')).toRun(abort);
  const controller = new AbortSource();
  const aborted = (await begin('short')).toRun(controller);
  const stopped = (await begin('short')).toRun(abort);
  controller.abort('cancelled');
  expect(await aborted).toBeUndefined();
  intake.close();
  expect(await stopped).toBeUndefined();
  expect(await intake.toBegin('short', false)).toBeUndefined();
});

it('a type whose job had to go back begins none ahead until one of its jobs has ended', async () => {
  const { begin } = intakeOf(1, { short: 10 }, 1);
  const running = await (await begin('short')).toRun(abort);
  expect(await (await begin('short')).toRun(abort)).toBeUndefined();
  let begun = false;
  const next = begin('short').then((place) => {
    begun = true;
    return place.toRun(abort);
  });
  await new Promise(setImmediate);
  expect(begun).toBe(false);
  running?.();
  expect(await next).toBeTypeOf('function');
  expect(await begin('short')).toBeDefined();
});

describe('ahead of the slots begin', () => {
  it.each([
    ['none of a type whose run time is not known', undefined, 0],
    ['none of a long type', 51, 0],
    ['100 ms of work of a short type', 10, 10],
    ['no more than the setting allows', 0.01, 400],
    ['no more than the setting allows of jobs without a measurable time', 0, 400],
  ])('%s', (_, runMs, expected) => {
    expect(begunAheadOf(runMs, 400)).toBe(expected);
  });
});
