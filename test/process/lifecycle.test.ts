/** Opening, closing and what a signal does to them. */
import { expect, it } from 'vitest';
import { leaveOnSignals, Lifecycle, stopOnSignals } from '../../src/process/lifecycle.ts';
import { collectingLog } from '../support/collecting-log.ts';

it('closes once, in reverse order of opening, and goes on past a part that fails', async () => {
  const { lines, log } = collectingLog();
  const lifecycle = new Lifecycle(log);
  const closed: string[] = [];
  for (const name of ['database', 'queues', 'worker']) {
    lifecycle.opened(name, async () => {
      closed.push(name);
      if (name === 'queues') throw new Error('the queue store is away');
      return Promise.resolve();
    });
  }
  await Promise.all([lifecycle.close(), lifecycle.close()]);
  await lifecycle.close();
  expect(closed).toEqual(['worker', 'queues', 'database']);
  expect(lines.find(({ event }) => event === 'close_failed')?.['part']).toBe('queues');
});

it('leaves a part behind that never closes, says so, and closes the rest', async () => {
  const { lines, log } = collectingLog();
  const lifecycle = new Lifecycle(log, { closeWithinMs: 1 });
  const closed: string[] = [];
  lifecycle.opened('database', () => Promise.resolve(void closed.push('database')));
  lifecycle.opened('worker', () => new Promise(() => {}));
  await lifecycle.close();
  expect(closed).toEqual(['database']);
  expect(lines.find(({ event }) => event === 'close_abandoned')?.['part']).toBe('worker');
});

it('turns the first signal into a request to stop, ignores the next, and lets go of the listeners', async () => {
  const lifecycle = new Lifecycle(collectingLog().log);
  const before = process.listenerCount('SIGTERM');
  const remove = stopOnSignals(lifecycle);
  process.emit('SIGTERM');
  process.emit('SIGTERM');
  process.emit('SIGINT');
  await lifecycle.untilStopped();
  expect(lifecycle.stopSignal.reason).toBe('SIGTERM');
  remove();
  expect(process.listenerCount('SIGTERM')).toBe(before);
});

it('takes the place of the entry that leaves at once, without a moment in which nobody listens', () => {
  const lifecycle = new Lifecycle(collectingLog().log);
  const before = process.listenerCount('SIGTERM');
  leaveOnSignals();
  expect(process.listenerCount('SIGTERM')).toBe(before + 1);
  const counts: number[] = [];
  const count = (): void => void counts.push(process.listenerCount('SIGTERM'));
  process.on('removeListener', count);
  const remove = stopOnSignals(lifecycle);
  process.off('removeListener', count);
  expect(counts.every((left) => left > before)).toBe(true);
  expect(process.listenerCount('SIGTERM')).toBe(before + 1);
  process.emit('SIGTERM');
  expect(lifecycle.stopSignal.reason).toBe('SIGTERM');
  remove();
  expect(process.listenerCount('SIGTERM')).toBe(before);
});

it('ends with the exit code of the first reason to stop', () => {
  const asked = new Lifecycle(collectingLog().log);
  asked.requestStop('SIGTERM');
  asked.requestStop('silent stop: claim', { exitCode: 1 });
  expect(asked.exitCode).toBe(0);
  const silent = new Lifecycle(collectingLog().log);
  silent.requestStop('silent stop: claim', { exitCode: 1 });
  silent.requestStop('SIGTERM');
  expect(silent.exitCode).toBe(1);
});
