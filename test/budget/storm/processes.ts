/** The worker processes of a storm: started, killed at their crash points, replaced, and stopped when enough was done. */
import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { track } from '../../support/children.ts';
import { crashPoints, countNames, operationsOf } from './order.ts';
import type { Answer, Counts, CrashPoint, Message, Order } from './order.ts';

interface ProcessOptions {
  readonly operations: number;
  readonly processes: number;
  readonly crashes: number;
  /** Called with the share that is done, 0 to 1. */
  readonly onProgress?: (share: number) => void;
}

interface Ran {
  readonly operations: number;
  readonly counts: Counts;
  readonly crashes: Partial<Record<CrashPoint, number>>;
  /** Reservations that were being settled when their process was killed. */
  readonly settling: readonly string[];
  readonly faults: readonly string[];
}

const script = fileURLToPath(new URL('worker.ts', import.meta.url));

/** Every process has an order of its own seed. Counts that a killed process had not told yet are lost. */
export function runProcesses(
  options: ProcessOptions,
  random: () => number,
  order: Order,
): Promise<Ran> {
  const counts: Counts = {};
  const crashes: Partial<Record<CrashPoint, number>> = {};
  const settling: string[] = [];
  const faults: string[] = [];
  const running = new Set<ChildProcess>();
  let { seed } = order;
  let killed = 0;
  /** Waits to be obeyed by one process. */
  let pending: { readonly child: ChildProcess; readonly point: CrashPoint } | undefined;

  const done = () => operationsOf(counts) + killed;
  const tell = (child: ChildProcess, message: Message) => {
    // A process that was killed has no channel any more; its end is seen by its event.
    if (child.connected) child.send(message, () => {});
  };

  return new Promise((resolve, reject) => {
    function start(): void {
      seed += 1;
      const child = fork(script, { execArgv: ['--import', 'tsx'] });
      track(child);
      running.add(child);
      child.on('message', (answer: Answer) => hear(child, answer));
      child.once('error', reject);
      child.once('exit', (code, signal) => {
        running.delete(child);
        if (pending?.child === child) pending = undefined;
        if (signal !== 'SIGKILL' && code !== 0)
          faults.push(`a process ended with ${code ?? signal}`);
        if (done() < options.operations) start();
        else if (running.size === 0) {
          resolve({ operations: done(), counts, crashes, settling, faults });
        }
      });
      tell(child, { kind: 'start', order: { ...order, seed } });
    }

    function hear(child: ChildProcess, answer: Answer): void {
      if (answer.kind === 'fault') faults.push(answer.fault);
      else if (answer.kind === 'at') {
        if (answer.point === 'settling') settling.push(answer.reservationId);
        kill(child, answer.point);
      } else {
        for (const name of countNames) {
          counts[name] = (counts[name] ?? 0) + (answer.counts[name] ?? 0);
        }
        advance();
      }
    }

    function kill(child: ChildProcess, point: CrashPoint): void {
      if (!child.kill('SIGKILL')) return;
      killed += 1;
      crashes[point] = (crashes[point] ?? 0) + 1;
    }

    function advance(): void {
      const progress = Math.min(1, done() / options.operations);
      options.onProgress?.(progress);
      for (const child of running) tell(child, { kind: 'progress', progress });
      if (progress === 1) for (const child of running) tell(child, { kind: 'stop' });
      else if (pending === undefined && killed < options.crashes * progress) orderCrash();
    }

    function orderCrash(): void {
      const children = [...running].filter(({ connected }) => connected);
      const child = children[Math.floor(random() * children.length)];
      const point = crashPoints[killed % crashPoints.length];
      if (child === undefined || point === undefined) return;
      pending = { child, point };
      if (point === 'anywhere') kill(child, point);
      else tell(child, { kind: 'crash', point });
    }

    for (let n = 0; n < options.processes; n += 1) start();
  });
}
