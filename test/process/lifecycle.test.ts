/** Opening and closing in order, and signals. */
import { expect, it } from 'vitest';
import { leaveOnSignals, Lifecycle, stopOnSignals } from '../../src/process/lifecycle.ts';
import { collectingLog } from '../support/collecting-log.ts';

it('closes each part once, in reverse order, also after a part that fails', async () => {
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

it('abandons a part that never closes, logs it, and closes the rest', async () => {
  const { lines, log } = collectingLog();
  const lifecycle = new Lifecycle(log, { closeWithinMs: 1 });
  const closed: string[] = [];
  lifecycle.opened('database', () => Promise.resolve(void closed.push('database')));
  lifecycle.opened('worker', () => new Promise(() => {}));
  await lifecycle.close();
  expect(closed).toEqual(['database']);
  expect(lines.find(({ event }) => event === 'close_abandoned')?.['part']).toBe('worker');
});

it('requests a stop on the first signal, ignores the next ones, and removes its listeners', async () => {
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

it('replaces the listeners of the start-up, with no moment without a listener', () => {
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
  asked.requestStop('stalled: claim', { exitCode: 1 });
  expect(asked.exitCode).toBe(0);
  const silent = new Lifecycle(collectingLog().log);
  silent.requestStop('stalled: claim', { exitCode: 1 });
  silent.requestStop('SIGTERM');
  expect(silent.exitCode).toBe(1);
});
