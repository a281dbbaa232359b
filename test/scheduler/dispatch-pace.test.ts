/** When the dispatch looks again: rounds that take long become rarer, and a job that is due later ends the pause. */
import { expect, it } from 'vitest';
import { DispatchPace } from '../../src/scheduler/dispatch-pace.ts';

it('rests for twice the time of a round, and leaves 10 ms between the beginnings of two that find work', () => {
  const pace = new DispatchPace();
  expect(pace.restMs(1, 0)).toBe(2);
  expect(pace.restMs(1, 5)).toBe(9);
  expect(pace.restMs(100, 5)).toBe(197);
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
  pace.looked({ jobTypes: [], dueInMs: 140.2 });
  expect(pace.everyMs()).toBe(141);
  pace.looked({ jobTypes: [], dueInMs: Infinity });
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

it('rests for a second at most: the round may have waited for a store that was away', () => {
  const pace = new DispatchPace();
  expect(pace.restMs(10_000, 0)).toBe(1_000);
  expect(pace.restMs(3_600_000, 5)).toBe(1_000);
});

it('keeps what a dear round told while rounds claim nothing, and less each time', () => {
  const pace = new DispatchPace();
  pace.restMs(103, 10);
  expect(pace.betweenRoundsMs()).toBeCloseTo(300);
  pace.restMs(2, 0);
  expect(pace.betweenRoundsMs()).toBeCloseTo(270);
  pace.restMs(5, 20);
  expect(pace.betweenRoundsMs()).toBe(10);
});

it('does not say that it is awake when it finds only what nobody takes: the next look is far away', () => {
  const found = { jobTypes: ['paused_step'], dueInMs: Infinity };
  const pace = new DispatchPace({ listens: true });
  pace.looked(found);
  pace.restMs(1, 0);
  expect([pace.everyMs(), pace.awakeMs()]).toEqual([1_000, 0]);
  pace.looked(found);
  pace.restMs(1, 1);
  // Busy: it looks every 20 ms.
  pace.looked(found);
  pace.restMs(1, 0);
  expect([pace.everyMs(), pace.awakeMs()]).toEqual([20, 20]);
});
