/** The shared loop: it continues after every failure and logs an outage once. */
import { afterEach, describe, expect, it } from 'vitest';
import { PurserError } from '../../src/errors.ts';
import { startLoop } from '../../src/process/loop.ts';
import type { Loop, LoopOptions } from '../../src/process/loop.ts';
import type { LogLine } from '../support/collecting-log.ts';
import { collectingLog } from '../support/collecting-log.ts';

const fault = (code: string): PurserError => new PurserError(code, `fault ${code}`);

let loop: Loop | undefined;
afterEach(() => loop?.stop());

/** Runs the rounds in turn, the last one again and again. */
function start(
  rounds: readonly (() => Promise<number>)[],
  overrides: Partial<LoopOptions> = {},
): {
  lines: readonly LogLine[];
  count: () => number;
  untilRound: (count: number) => Promise<void>;
} {
  const { lines, log } = collectingLog();
  let count = 0;
  const runOnce = async (): Promise<number> => {
    count += 1;
    return (rounds[count - 1] ?? rounds.at(-1))?.() ?? 0;
  };
  loop = startLoop({ name: 'claim', everyMs: 1, maxBackoffMs: 1, log, runOnce, ...overrides });
  const untilRound = (wanted: number) =>
    expect.poll(() => count, { interval: 5, timeout: 10_000 }).toBeGreaterThanOrEqual(wanted);
  return { lines, count: () => count, untilRound };
}

const events = (lines: readonly { event: string }[]) => lines.map(({ event }) => event);

describe('a loop', () => {
  it('goes on at once after work, and pauses for everyMs otherwise', async () => {
    const pauses: number[] = [];
    const everyMs = (): number => {
      pauses.push(pauses.length);
      return pauses.length < 3 ? 1 : 60_000;
    };
    const idle = start(
      [1, 1, 0, 0, 0].map((did) => () => Promise.resolve(did)),
      { everyMs },
    );
    await idle.untilRound(5);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(pauses).toEqual([0, 1, 2]);
    loop?.wake();
    await idle.untilRound(6);
    expect(idle.count()).toBe(6);
  });

  it('rests after each round, whoever wakes it', async () => {
    const rested: { roundMs: number; work: number }[] = [];
    const restMs = (roundMs: number, work: number): number => {
      rested.push({ roundMs, work });
      return rested.length < 3 ? 1 : 60_000;
    };
    const resting = start(
      [() => new Promise((resolve) => setTimeout(resolve, 20, 1)), () => Promise.resolve(0)],
      { everyMs: 1, restMs },
    );
    await resting.untilRound(3);
    await expect.poll(() => rested.length).toBe(3);
    expect(rested.map(({ work }) => work)).toEqual([1, 0, 0]);
    expect(rested[0]?.roundMs).toBeGreaterThan(15);
    loop?.wake();
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(resting.count()).toBe(3);
    // And stops at once.
    await loop?.stop();
  });

  it('that fails backs off from 300 ms, however short its pause is at this moment', async () => {
    const failing = start([() => Promise.reject(fault('away'))], {
      everyMs: () => 1,
      maxBackoffMs: 60_000,
    });
    await failing.untilRound(1);
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(failing.count()).toBe(1);
  });

  it('woken, ends its pause', async () => {
    const idle = start([() => Promise.resolve(0)], { everyMs: 60_000 });
    await idle.untilRound(1);
    loop?.wake();
    await idle.untilRound(2);
    expect(idle.count()).toBe(2);
  });

  it('woken during a round, goes on with the next one', async () => {
    const during: (() => Promise<number>)[] = [
      () => {
        loop?.wake();
        return Promise.resolve(0);
      },
      () => Promise.resolve(0),
    ];
    const { untilRound, count } = start(
      [() => new Promise((resolve) => setTimeout(resolve, 50, 0)), ...during],
      { everyMs: 60_000 },
    );
    loop?.wake();
    await untilRound(3);
    expect(count()).toBe(3);
  });

  it('logs each kind of failure once, and the recovery', async () => {
    const away = () => Promise.reject(fault('away'));
    const { lines, untilRound } = start([
      away,
      away,
      away,
      () => Promise.reject(fault('locked')),
      away,
      away,
      () => Promise.resolve(0),
    ]);
    await untilRound(8);
    expect(events(lines)).toEqual(['loop_failed', 'loop_failed', 'loop_recovered']);
    expect(lines).toMatchObject([
      { loop: 'claim', failures: 1, error: { code: 'away' } },
      { loop: 'claim', failures: 4, error: { code: 'locked' } },
      { loop: 'claim', failures: 6 },
    ]);
  });

  it('that fails every other round logs the failure once', async () => {
    let broken = false;
    const { lines, untilRound } = start([
      () => {
        broken = !broken;
        return broken ? Promise.reject(fault('away')) : Promise.resolve(0);
      },
    ]);
    await untilRound(20);
    expect(events(lines)).toEqual(['loop_failed', 'loop_recovered']);
  });

  it('keeps the time of its last success', async () => {
    let ends = (): void => {};
    const { untilRound } = start([
      () => Promise.resolve(0),
      () => Promise.reject(fault('away')),
      () => new Promise((resolve) => (ends = () => resolve(0))),
      () => Promise.resolve(0),
    ]);
    await untilRound(3);
    const before = loop?.succeededAt().getTime() ?? 0;
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(loop?.succeededAt().getTime()).toBe(before);
    ends();
    await expect.poll(() => loop?.succeededAt().getTime()).toBeGreaterThan(before);
  });

  it('stops after the current round', async () => {
    let ends = (): void => {};
    const { count, untilRound } = start([
      () => new Promise((resolve) => (ends = () => resolve(1))),
    ]);
    await untilRound(1);
    let stopped = false;
    const stopping = loop?.stop().then(() => (stopped = true));
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(stopped).toBe(false);
    ends();
    await stopping;
    expect(count()).toBe(1);
  });

  it('abandons a round that never ends, and logs it', async () => {
    const { lines, untilRound } = start([() => new Promise(() => {})], { stopWithinMs: 1 });
    await untilRound(1);
    await loop?.stop();
    expect(lines).toMatchObject([{ loop: 'claim', event: 'round_abandoned' }]);
  });
});
