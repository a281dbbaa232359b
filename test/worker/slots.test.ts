/** A worker's places are never more than there are, and go to whoever waited longest. */
import { expect, it } from 'vitest';
import { Slots } from '../../src/worker/slots.ts';

function slotsOf(count: number) {
  const heard: string[] = [];
  const slots = new Slots(count, {
    full: () => heard.push('full'),
    free: () => heard.push('free'),
  });
  return { slots, heard };
}

it('says when the last one is taken and when there is one again', async () => {
  const { slots, heard } = slotsOf(2);
  const one = await slots.take(0);
  expect(heard).toEqual([]);
  const two = await slots.take(0);
  expect(heard).toEqual(['full']);
  one?.();
  expect(heard).toEqual(['full', 'free']);
  two?.();
  expect(heard).toEqual(['full', 'free']);
  expect(slots.free).toBe(2);
});

it('gives a place on to who waited longest, and is full all the while', async () => {
  const { slots, heard } = slotsOf(1);
  const first = await slots.take(0);
  const order: string[] = [];
  const waiting = ['a', 'b'].map(async (name) => {
    const release = await slots.take(10_000);
    order.push(name);
    release?.();
  });
  first?.();
  await Promise.all(waiting);
  expect(order).toEqual(['a', 'b']);
  expect(heard).toEqual(['full', 'free']);
  expect(slots.free).toBe(1);
});

it('sends away who has no patience left, and forgets them', async () => {
  const { slots } = slotsOf(1);
  const release = await slots.take(0);
  expect(await slots.take(1)).toBeUndefined();
  release?.();
  expect(slots.free).toBe(1);
});
