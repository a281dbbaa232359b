/**
 * Slots, and places ahead of them: never more than configured are given, the longest waiting request gets the next slot,
 * and those who wait for places ahead get many at once.
 */
import { AbortSource } from '../../src/worker/executors/abort-source.ts';
import { expect, it } from 'vitest';
import { AheadPlaces } from '../../src/worker/ahead.ts';
import { Slots } from '../../src/worker/slots.ts';

const now = { jobType: 'report', limit: Infinity, waitMs: 0 };

it('tells of every slot that is taken or given back', async () => {
  const free: number[] = [];
  const slots: Slots = new Slots(2, () => free.push(slots.free));
  const one = await slots.take(now);
  const two = await slots.take(now);
  expect(free).toEqual([1, 0]);
  one?.();
  two?.();
  expect(free).toEqual([1, 0, 1, 2]);
});

it('gives a released slot to the longest waiting request, and stays full', async () => {
  const slots = new Slots(1);
  const first = await slots.take(now);
  const order: string[] = [];
  const waiting = ['a', 'b'].map(async (name) => {
    const release = await slots.take({ ...now, waitMs: 10_000 });
    order.push(name);
    expect(slots.free).toBe(0);
    release?.();
  });
  first?.();
  expect(slots.free).toBe(0);
  await Promise.all(waiting);
  expect(order).toEqual(['a', 'b']);
  expect(slots.free).toBe(1);
});

it('a request that waited too long gets no slot, and is removed from the queue', async () => {
  const slots = new Slots(1);
  const release = await slots.take(now);
  expect(await slots.take({ ...now, waitMs: 1 })).toBeUndefined();
  release?.();
  expect(slots.free).toBe(1);
});

it('a type gets no more than its limit, and holds up no other type', async () => {
  const slots = new Slots(3);
  const long = { jobType: 'long', limit: 1, waitMs: 10_000 };
  const one = await slots.take(long);
  const second = slots.take(long);
  expect(await slots.take(now)).toBeTypeOf('function');
  expect(slots.free).toBe(1);
  one?.();
  expect(await second).toBeTypeOf('function');
  expect(slots.used('long')).toBe(1);
  expect(slots.free).toBe(1);
});

it('a request that is aborted, and every request once it is closed, gets none', async () => {
  const slots = new Slots(1);
  const release = await slots.take(now);
  const controller = new AbortSource();
  const aborted = slots.take({ ...now, waitMs: 10_000, abort: controller });
  const closed = slots.take({ ...now, waitMs: 10_000 });
  controller.abort('cancelled');
  expect(await aborted).toBeUndefined();
  slots.close();
  expect(await closed).toBeUndefined();
  release?.();
  expect(await slots.take(now)).toBeUndefined();
  expect(slots.free).toBe(1);
});

const openPlaces = () => new AheadPlaces(() => {});
const short = { jobType: 'short', limit: 4, count: 3, waitMs: 10_000 };

it('places ahead: gives as many as are wanted and free', async () => {
  const places = openPlaces();
  expect(await places.take(short)).toBe(3);
  expect(await places.take(short)).toBe(1);
  expect(places.used('short')).toBe(4);
  expect(await places.take({ ...short, jobType: 'other' })).toBe(3);
});

it('places ahead: answers who waits when half of the places of the type are free, in order', async () => {
  const places = openPlaces();
  await places.take({ ...short, count: 4 });
  const given: [number, number][] = [];
  const waiting = [1, 2].map(async (number) => {
    given.push([number, await places.take(short)]);
  });
  places.giveBack('short', 1);
  await Promise.resolve();
  // One is free, but whoever comes now stands behind those that wait.
  expect(await places.take({ ...short, waitMs: 1 })).toBe(0);
  expect(given).toEqual([]);
  places.giveBack('short', 1);
  places.giveBack('short', 2);
  await Promise.all(waiting);
  expect(given).toEqual([
    [1, 2],
    [2, 2],
  ]);
  expect(places.used('short')).toBe(4);
});

it('places ahead: gives none to who waited too long, nor to anybody once it is closed', async () => {
  const places = openPlaces();
  await places.take({ ...short, count: 4 });
  expect(await places.take({ ...short, waitMs: 1 })).toBe(0);
  const waiting = places.take(short);
  places.close();
  expect(await waiting).toBe(0);
  places.giveBack('short', 4);
  expect(await places.take(short)).toBe(0);
});

it('places ahead: tells of every change', async () => {
  const used: number[] = [];
  const places: AheadPlaces = new AheadPlaces(() => used.push(places.used('short')));
  await places.take(short);
  places.giveBack('short', 3);
  expect(used).toEqual([3, 0]);
});
