/** When the copy of the dead letters is compared with the table. */
import { expect, it } from 'vitest';
import { MirrorPace } from '../../src/queues/mirror-pace.ts';

const [older, newer] = [{ jobId: '1' }, { jobId: '2' }];

it('is compared at once after a change, and otherwise twice a minute', () => {
  const pace = new MirrorPace();
  expect(pace.isDue([], 0)).toBe(true);
  pace.compared([], 0);
  expect(pace.isDue([], 29_999)).toBe(false);
  expect(pace.isDue([older], 1)).toBe(true);
  pace.compared([older], 1);
  expect(pace.isDue([older], 2)).toBe(false);
  expect(pace.isDue([newer, older], 2)).toBe(true);
  expect(pace.isDue([older], 30_001)).toBe(true);
});

it('stays due until a comparison has succeeded', () => {
  const pace = new MirrorPace();
  expect([pace.isDue([older], 0), pace.isDue([older], 1)]).toEqual([true, true]);
});
