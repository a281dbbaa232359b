/** When the dispatch looks again: rounds that take long become rarer, and a job that is due later ends the pause. */
import { expect, it } from 'vitest';
import { DispatchPace } from '../../src/scheduler/dispatch-pace.ts';

it('rests for twice the time of a round, and leaves 10 ms between the beginnings of two that find work', () => {
  const pace = new DispatchPace();
  expect(pace.restMs(1, 0)).toBe(2);
  expect(pace.restMs(1, 5)).toBe(9);
  expect(pace.restMs(100, 5)).toBe(199);
});

it('needs no longer rest after a round of many jobs: it would have more of them each time', () => {
  const pace = new DispatchPace();
  expect(pace.restMs(100, 2_000)).toBe(0);
  expect(pace.betweenRoundsMs()).toBe(10);
  expect(pace.awakeMs()).toBe(200);
});

it('looks every 20 ms after work, then every 300 ms', () => {
  const pace = new DispatchPace();
  expect(pace.everyMs()).toBe(300);
  pace.restMs(1, 0);
  expect(pace.everyMs()).toBe(300);
  pace.restMs(1, 1);
  expect(pace.everyMs()).toBe(20);
});

it('looks every second while enqueues wake it', () => {
  expect(new DispatchPace({ listens: true }).everyMs()).toBe(1_000);
  expect(new DispatchPace({ listens: true, everyMs: 5 }).everyMs()).toBe(5);
});

it('looks when the next job is due', () => {
  const pace = new DispatchPace({ listens: true });
  pace.nextDueIn(140.2);
  expect(pace.everyMs()).toBe(141);
  pace.nextDueIn(Infinity);
  expect(pace.everyMs()).toBe(1_000);
});

it('says for how long it surely is awake, by the time that its rounds take', () => {
  const pace = new DispatchPace();
  expect([pace.betweenRoundsMs(), pace.awakeMs()]).toEqual([10, 20]);
  pace.restMs(40, 0);
  expect([pace.betweenRoundsMs(), pace.awakeMs()]).toEqual([120, 240]);
  pace.restMs(1_000, 0);
  expect([pace.betweenRoundsMs(), pace.awakeMs()]).toEqual([3_000, 300]);
});
