/** A task without progress ends its process; one that fails, has nothing to do or was suspended does not. */
import { afterEach, describe, expect, it } from 'vitest';
import { Lifecycle } from '../../src/process/lifecycle.ts';
import { startLoop } from '../../src/process/loop.ts';
import type { Loop } from '../../src/process/loop.ts';
import { StallWatchdog, watchForStalls } from '../../src/process/stall-watchdog.ts';
import { collectingLog } from '../support/collecting-log.ts';
import { tickMs, untilMissed } from '../support/watched-time.ts';

/** A hundred ticks: far more than the rounds of these tests take. */
const limitMs = 500;
const pollOptions = { interval: 10, timeout: 20_000 };

let watchdog: StallWatchdog | undefined;
const loops: Loop[] = [];
afterEach(async () => {
  watchdog?.stop();
  await Promise.all(loops.splice(0).map((loop) => loop.stop()));
});

function open() {
  const { lines, log } = collectingLog();
  const silent: string[] = [];
  const opened = new StallWatchdog({ log, onStall: (what) => silent.push(what), tickMs });
  watchdog = opened;
  const start = (name: string, runOnce: () => Promise<number>) => {
    const loop = startLoop({
      name,
      everyMs: 1,
      maxBackoffMs: 1,
      stopWithinMs: 1,
      log,
      runOnce,
      watchdog: { expect: (what) => opened.expect(what, limitMs) },
    });
    loops.push(loop);
    return loop;
  };
  return { lines, silent, start };
}

describe('a stall', () => {
  it('is a round that never returns, logged once with task and time', async () => {
    const { lines, silent, start } = open();
    let rounds = 0;
    start('sweep', () => Promise.resolve(0));
    const hung = start('claim', () => {
      rounds += 1;
      return rounds < 3 ? Promise.resolve(0) : new Promise(() => {});
    });
    await expect.poll(() => silent, pollOptions).toEqual(['claim']);
    const told = lines.filter(({ event }) => event === 'process_stalled');
    expect(told).toMatchObject([{ level: 'fatal', task: 'claim', silentMs: limitMs }]);
    const since = new Date(String(told[0]?.['since'])).getTime();
    expect(Math.abs(since - hung.succeededAt().getTime())).toBeLessThan(limitMs);
  });

  it('is not a loop that fails, finds nothing or pauses', async () => {
    const { silent, start } = open();
    start('dispatch', () => Promise.reject(new Error('the store is away')));
    start('claim', () => Promise.resolve(0));
    await untilMissed(limitMs * 2);
    expect(silent).toEqual([]);
  });

  it('is not a loop that was stopped', async () => {
    const { silent, start } = open();
    const loop = start('claim', () => new Promise(() => {}));
    await loop.stop();
    await untilMissed(limitMs * 2);
    expect(silent).toEqual([]);
  });

  it('stops the process in order with exit code 1', async () => {
    const { log, lines } = collectingLog();
    const lifecycle = new Lifecycle(log);
    const own = watchForStalls(lifecycle, log, { tickMs });
    own.expect('claim', tickMs);
    await lifecycle.untilStopped();
    expect(lifecycle.exitCode).toBe(1);
    expect(lines.map(({ event }) => event)).toEqual(['process_stalled', 'stopping']);
  });

  it('is not reported by a process that is stopping', async () => {
    const { log, lines } = collectingLog();
    const lifecycle = new Lifecycle(log);
    const own = watchForStalls(lifecycle, log, { tickMs });
    own.expect('claim', limitMs);
    lifecycle.requestStop('SIGTERM');
    await untilMissed(limitMs * 2);
    expect(lifecycle.exitCode).toBe(0);
    expect(lines.map(({ event }) => event)).toEqual(['stopping']);
  });
});
