/** When jobs may begin and run: within the slots, and ahead of them within a limit, and when entries are taken. */
import { AbortSource } from '../../src/worker/executors/abort-source.ts';
import { describe, expect, it } from 'vitest';
import { begunAheadOf, Intake } from '../../src/worker/intake.ts';
import type { Release } from '../../src/worker/slots.ts';

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
  const begin = (jobType: string, count = 1, alone = false) =>
    intake.toBegin(jobType, count, { alone, waitMs: 10_000 });
  /** The slots of jobs that may run at once. */
  const run = async (jobType: string, count = 1, alone = false): Promise<Release[]> => {
    const places = await begin(jobType, count, alone);
    return [...(places?.slots ?? [])];
  };
  return { intake, begin, run, heard };
}

const giveBack = (slots: readonly Release[]): void => {
  for (const release of slots) release();
};

it('jobs get the slots that are free, and the others none of them', async () => {
  const { intake, run } = intakeOf(3, { short: 10 });
  const two = await run('short', 2);
  expect(two).toHaveLength(2);
  const one = await run('short', 2);
  expect(one).toHaveLength(1);
  expect(intake.free).toBe(0);
  giveBack([...two, ...one]);
  expect(intake.free).toBe(3);
});

it('a job of a long type begins only when it may run, and a full worker takes no entries', async () => {
  const { intake, run, heard } = intakeOf(1, { long: 0 });
  const first = await run('long');
  expect(heard).toEqual(['pause long']);
  const second = run('long', 5);
  giveBack(first);
  expect(intake.free).toBe(0);
  expect(heard).toEqual(['pause long']);
  expect(await second).toHaveLength(1);
  giveBack(await second);
  expect(heard).toEqual(['pause long', 'resume long']);
});

it('jobs of a short type begin ahead, up to their limit, and may share a slot', async () => {
  const { intake, begin, run, heard } = intakeOf(1, { short: 4 });
  const first = await run('short');
  expect(intake.laneSize('short')).toBe(3);
  expect(await begin('short', 9)).toEqual({ count: 4 });
  expect(heard).toEqual(['pause short']);
  let begun = false;
  const next = begin('short').then((places) => {
    begun = true;
    return places;
  });
  const slot = intake.toRun('short', abort);
  giveBack(first);
  expect(await slot).toBeTypeOf('function');
  intake.leave('short', 1);
  await new Promise(setImmediate);
  expect(begun).toBe(false);
  intake.leave('short', 1);
  expect(await next).toEqual({ count: 1 });
  intake.leave('short', 2);
  expect(heard).toEqual(['pause short', 'resume short']);
});

it('those that wait for a slot get it in order', async () => {
  const { intake, run } = intakeOf(1, { short: 4 });
  const first = await run('short');
  const order: string[] = [];
  const waiting = ['a', 'b', 'c'].map(async (name) => {
    const slot = await intake.toRun('short', abort);
    order.push(name);
    slot?.();
  });
  giveBack(first);
  await Promise.all(waiting);
  expect(order).toEqual(['a', 'b', 'c']);
});

it('a job that was lost begins only when it may run, whatever its type', async () => {
  const { begin, run } = intakeOf(1, { short: 10 });
  const first = await run('short');
  let begun = false;
  const alone = run('short', 1, true).then((slots) => {
    begun = true;
    return slots;
  });
  expect(await begin('short')).toEqual({ count: 1 });
  await new Promise(setImmediate);
  expect(begun).toBe(false);
  giveBack(first);
  expect(await alone).toHaveLength(1);
});

it('while jobs of a short type are begun ahead, a long type takes no entries, and gets the next free slot in turn', async () => {
  const { intake, begin, run, heard } = intakeOf(2, { short: 8, long: 0 });
  const running = await run('short', 2);
  expect(heard).toEqual(['pause long']);
  await begin('short');
  const ahead = intake.toRun('short', abort);
  const long = run('long');
  giveBack(running);
  await ahead;
  expect(await long).toHaveLength(1);
});

it('what is begun ahead goes back when all of it was aborted, or when the worker stops', async () => {
  const { intake, begin, run } = intakeOf(1, { short: 10 });
  await run('short');
  const controller = new AbortSource();
  const aborted = intake.toRun('short', controller);
  const stopped = intake.toRun('short', abort);
  controller.abort('cancelled');
  expect(await aborted).toBeUndefined();
  intake.close();
  expect(await stopped).toBeUndefined();
  expect(await begin('short')).toBeUndefined();
});

it('a type whose job had to go back begins none ahead until one of its jobs has ended', async () => {
  const { intake, begin, run } = intakeOf(1, { short: 10 }, 1);
  const running = await run('short');
  expect(await intake.toRun('short', abort)).toBeUndefined();
  expect(intake.laneSize('short')).toBe(1);
  let begun = false;
  const next = run('short').then((slots) => {
    begun = true;
    return slots;
  });
  await new Promise(setImmediate);
  expect(begun).toBe(false);
  intake.ended('short');
  giveBack(running);
  expect(await next).toHaveLength(1);
  expect(await begin('short', 3)).toEqual({ count: 3 });
});

describe('ahead of the slots begin', () => {
  it.each([
    ['none of a type whose run time is not known', undefined, 0],
    ['none of a long type', 51, 0],
    ['what the slots of a short type run in 15 ms', 10, 15],
    ['no more than the setting allows', 0.01, 400],
    ['no more than the setting allows of jobs without a measurable time', 0, 400],
  ])('%s', (_, runMs, expected) => {
    expect(begunAheadOf(runMs, 10, 400)).toBe(expected);
  });

  it('one at least of a short type', () => {
    expect(begunAheadOf(50, 1, 400)).toBe(1);
  });
});

describe('while it drains', () => {
  it('no job begins, none that waits for its place either, and those that began run', async () => {
    const { intake, begin, run, heard } = intakeOf(1, { short: 2, long: 0 });
    const first = await run('long');
    const ahead = await begin('short', 2);
    expect(ahead).toEqual({ count: 2 });
    const waiting = [run('long'), begin('short', 1)];
    heard.length = 0;
    intake.drain(true);
    expect(intake.isDraining).toBe(true);
    expect(heard.toSorted()).toEqual([]);
    giveBack(first);
    expect(await waiting[0]).toEqual([]);
    const slot = await intake.toRun('short', abort);
    expect(slot).toBeDefined();
    slot?.();
    intake.leave('short', 2);
    expect(await waiting[1]).toBeUndefined();
    expect(await begin('short')).toBeUndefined();
    expect(await run('long')).toEqual([]);
    expect(intake.free).toBe(1);
    expect(heard).toEqual([]);
    intake.drain(false);
    expect(heard.toSorted()).toEqual(['resume long', 'resume short']);
    expect(await run('long')).toHaveLength(1);
  });

  it('entries of every type are taken no more, and again afterwards only where there is room', async () => {
    const { intake, run, heard } = intakeOf(1, { short: 4, long: 0 });
    const first = await run('long');
    expect(heard).toEqual(['pause long']);
    intake.drain(true);
    intake.drain(true);
    expect(heard).toEqual(['pause long', 'pause short']);
    intake.drain(false);
    expect(heard).toEqual(['pause long', 'pause short', 'resume short']);
    giveBack(first);
    expect(heard.at(-1)).toBe('resume long');
  });
});
