/** Slots: never more than configured are given, and the longest waiting request gets the next one. */
import { expect, it } from 'vitest';
import { Slots } from '../../src/worker/slots.ts';

const now = { jobType: 'report', limit: Infinity, waitMs: 0 };

function slotsOf(count: number) {
  const heard: string[] = [];
  const slots = new Slots(count, {
    full: () => heard.push('full'),
    free: () => heard.push('free'),
  });
  return { slots, heard };
}

it('reports when the last slot is taken and when one is free again', async () => {
  const { slots, heard } = slotsOf(2);
  const one = await slots.take(now);
  expect(heard).toEqual([]);
  const two = await slots.take(now);
  expect(heard).toEqual(['full']);
  one?.();
  expect(heard).toEqual(['full', 'free']);
  two?.();
  expect(heard).toEqual(['full', 'free']);
  expect(slots.free).toBe(2);
});

it('gives a released slot to the longest waiting request, and stays full', async () => {
  const { slots, heard } = slotsOf(1);
  const first = await slots.take(now);
  const order: string[] = [];
  const waiting = ['a', 'b'].map(async (name) => {
    const release = await slots.take({ ...now, waitMs: 10_000 });
    order.push(name);
    release?.();
  });
  first?.();
  await Promise.all(waiting);
  expect(order).toEqual(['a', 'b']);
  expect(heard).toEqual(['full', 'free']);
  expect(slots.free).toBe(1);
});

it('a request that waited too long gets no slot, and is removed from the queue', async () => {
  const { slots } = slotsOf(1);
  const release = await slots.take(now);
  expect(await slots.take({ ...now, waitMs: 1 })).toBeUndefined();
  release?.();
  expect(slots.free).toBe(1);
});
