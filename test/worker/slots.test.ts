/** Slots: never more than configured are given, and the longest waiting request gets the next one. */
import { AbortSource } from '../../src/worker/executors/abort-source.ts';
import { expect, it } from 'vitest';
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

it('in groups, those that wait are answered together, when half of the slots of their type are free', async () => {
  const slots = new Slots(Infinity, undefined, true);
  const request = { jobType: 'short', limit: 4, waitMs: 10_000 };
  const taken = await Promise.all([1, 2, 3, 4].map(() => slots.take(request)));
  const answered: number[] = [];
  const waiting = [1, 2, 3].map(async (number) => {
    const release = await slots.take(request);
    answered.push(number);
    return release;
  });
  taken[0]?.();
  // One is free, but whoever comes now stands behind those that wait.
  expect(slots.tryTake(request)).toBeUndefined();
  await Promise.resolve();
  expect([answered, slots.used('short')]).toEqual([[], 3]);
  taken[1]?.();
  await Promise.all(waiting.slice(0, 2));
  expect([answered, slots.used('short')]).toEqual([[1, 2], 4]);
  taken[2]?.();
  taken[3]?.();
  await Promise.all(waiting);
  expect(answered).toEqual([1, 2, 3]);
  // Another type waits for nobody.
  expect(slots.tryTake({ jobType: 'other', limit: 1 })).toBeTypeOf('function');
});
