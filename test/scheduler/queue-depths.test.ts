/** A queue is refilled at half of its depth, and its depth follows the rate at which workers drain it. */
import { describe, expect, it } from 'vitest';
import { QueueDepths } from '../../src/scheduler/queue-depths.ts';

const type = 'test_step';
const ten = { slots: 10, workers: 1, runMs: null };

describe('a queue of 10 worker slots', () => {
  it('is filled to two entries per slot, and again only when half of them are taken', () => {
    const depths = new QueueDepths();
    expect(depths.room(type, ten, 0, 0)).toBe(20);
    expect(depths.room(type, ten, 20, 20)).toBe(0);
    expect(depths.room(type, ten, 11, 10_000)).toBe(0);
    expect(depths.room(type, ten, 10, 20_000)).toBe(10);
  });

  it('of a single slot is never left without an entry that waits', () => {
    const depths = new QueueDepths();
    expect(depths.room(type, { ...ten, slots: 1 }, 1, 0)).toBe(1);
  });

  it('that drains fast holds the work of 50 ms, at most 20 jobs per slot where their run time is not known', () => {
    const depths = new QueueDepths();
    let queued = 0;
    let nowMs = 0;
    /** The depth after five seconds at this rate. */
    const drainAt = (perSecond: number): number => {
      let depth = 0;
      for (const endMs = nowMs + 5_000; nowMs <= endMs; nowMs += 10) {
        const left = Math.max(0, queued - perSecond / 100);
        const room = depths.room(type, ten, left, nowMs);
        for (let entry = 0; entry < room; entry += 1) depths.added(type);
        queued = left + room;
        if (room > 0) depth = queued;
      }
      return depth;
    };
    expect(drainAt(2_000)).toBeGreaterThanOrEqual(80);
    expect(drainAt(2_000)).toBeLessThanOrEqual(120);
    expect(drainAt(50_000)).toBe(200);
    // And shrinks again.
    expect(drainAt(60)).toBeLessThanOrEqual(30);
  });

  it('holds no more than its slots run in 50 ms, of very short jobs in 200 ms, and two jobs per slot at least', () => {
    const depthOf = (runMs: number): number => {
      const depths = new QueueDepths();
      let room = 0;
      for (let nowMs = 0; nowMs <= 1_000; nowMs += 10) {
        room = depths.room(type, { ...ten, runMs }, 0, nowMs);
        for (let job = 0; job < room; job += 1) depths.added(type);
      }
      return room;
    };
    expect(depthOf(1)).toBe(2_000);
    expect(depthOf(2)).toBe(250);
    expect(depthOf(5)).toBe(100);
    expect(depthOf(50)).toBe(20);
    expect(depthOf(10_000)).toBe(20);
    expect(depthOf(0)).toBe(20_000);
  });

  it('of a short type holds four entries per worker from the start', () => {
    const room = (runMs: number, workers = 1) =>
      new QueueDepths().room(type, { slots: 10, workers, runMs }, 0, 0);
    expect(room(0.2)).toBe(400);
    expect(room(0.2, 3)).toBe(1_200);
    expect(room(5)).toBe(40);
    expect(room(30)).toBe(20);
    const chunks = (depths: QueueDepths) =>
      [null, 0, 0.5, 1, 20, 30, 1_000].map((runMs) => depths.chunk(runMs));
    expect(chunks(new QueueDepths())).toEqual([1, 100, 100, 50, 2, 1, 1]);
    expect(chunks(new QueueDepths(10))).toEqual([1, 10, 10, 10, 2, 1, 1]);
    expect(chunks(new QueueDepths(1))).toEqual([1, 1, 1, 1, 1, 1, 1]);
  });

  it('keeps what it learned of its workers while it is empty', () => {
    const depths = new QueueDepths();
    const short = { ...ten, runMs: 2 };
    let nowMs = 0;
    /** A round in which so many jobs of what was added are left; returns the room. */
    const round = (left: number): number => {
      nowMs += 50;
      const room = depths.room(type, short, left, nowMs);
      for (let job = 0; job < room; job += 1) depths.added(type);
      return room;
    };
    let last = 0;
    for (let busy = 0; busy < 40; busy += 1) last = round(0);
    expect(last).toBe(500);
    // Claimed nothing, because the type is paused or nothing waits: the queue was empty and is.
    depths.room(type, short, 0, (nowMs += 300));
    for (let idle = 0; idle < 100; idle += 1)
      expect(depths.room(type, short, 0, (nowMs += 300))).toBe(250);
    // Slower workers are noticed by what they leave.
    let left = round(0);
    for (let slow = 0; slow < 100; slow += 1) left = left - 10 + round(left - 10);
    expect(left).toBeLessThanOrEqual(100);
  });

  it('is filled without another count while there is surely room, for a short time', () => {
    const depths = new QueueDepths();
    const add = (jobs: number): void => {
      for (let job = 0; job < jobs; job += 1) depths.added(type);
    };
    expect(depths.needsNoCount(type, 0)).toBe(false);
    expect(depths.room(type, ten, undefined, 0)).toBe(0);
    expect(depths.room(type, ten, 0, 0)).toBe(20);
    add(4);
    expect(depths.needsNoCount(type, 50)).toBe(true);
    expect(depths.room(type, ten, undefined, 50)).toBe(16);
    add(6);
    expect(depths.needsNoCount(type, 60)).toBe(true);
    add(1);
    expect(depths.needsNoCount(type, 60)).toBe(false);
    expect(depths.room(type, ten, 3, 70)).toBe(17);
    expect(depths.needsNoCount(type, 169)).toBe(true);
    expect(depths.needsNoCount(type, 170)).toBe(false);
  });

  it('is not counted for a type that no worker runs, until one does', () => {
    const depths = new QueueDepths();
    depths.serves(['other']);
    expect(depths.needsNoCount(type, 0)).toBe(true);
    depths.serves(['other', type]);
    expect(depths.needsNoCount(type, 0)).toBe(false);
  });

  it('holds the work of two seconds at most, however far apart rounds are', () => {
    const depths = new QueueDepths();
    depths.roundsEvery(60_000);
    let room = 0;
    for (let nowMs = 0; nowMs <= 60_000; nowMs += 1_000) {
      room = depths.room(type, { ...ten, runMs: 1 }, 0, nowMs);
      for (let job = 0; job < room; job += 1) depths.added(type);
    }
    expect(room).toBe(10 * 2_000);
  });

  it('holds the work of the time between two rounds, where these are far apart', () => {
    const depthOf = (everyMs: number): number => {
      const depths = new QueueDepths();
      depths.roundsEvery(everyMs);
      let room = 0;
      // A hundred jobs a second.
      for (let nowMs = 0; nowMs <= 60_000; nowMs += everyMs) {
        room = depths.room(type, { ...ten, runMs: 10 }, 0, nowMs);
        for (let job = 0; job < Math.min(room, everyMs / 10); job += 1) depths.added(type);
      }
      return room;
    };
    expect(depthOf(50)).toBe(20);
    // Four times what is drained between two rounds.
    expect(depthOf(500)).toBeGreaterThan(180);
    expect(depthOf(500)).toBeLessThanOrEqual(200);
  });

  it('of one type is judged by the drain of that type alone', () => {
    const depths = new QueueDepths();
    expect(depths.room('other', ten, 0, 0)).toBe(20);
    expect(depths.room(type, ten, 15, 50)).toBe(0);
  });
});
