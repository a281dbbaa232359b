/** What a managed executor is started with, and the events that it reports to the pool. */
import type { Logger } from '../../log.ts';
import type { Metrics } from '../../metrics.ts';
import type { Assignment } from './assignment.ts';
import type { FromExecutor } from './protocol.ts';
import type { ExecutorEvents, ExecutorHandle } from './spawn.ts';
import type { ExecutorTiming } from './timing.ts';

/** shared: one thread for many jobs. exclusive: a thread for one job. alone: a process for one suspect. */
export type ExecutorKind = 'shared' | 'exclusive' | 'alone';

/** Database connections of an executor's pool. */
export const executorConnections: Readonly<Record<ExecutorKind, number>> = {
  shared: 2,
  exclusive: 1,
  alone: 1,
};

/** `E` is the managed executor. */
export interface ManagedExecutorEvents<E> {
  /** Messages that concern the pool: ready, load_failed, report, ended, those of LLM calls, built_in_changed. */
  readonly message: (executor: E, message: FromExecutor) => void;
  /** Attempts that were not started there and never will be. */
  readonly reassign: (assignments: readonly Assignment[]) => void;
  /** It has no attempts left, or has ended. */
  readonly idle: (executor: E) => void;
  /** Its thread cannot be terminated. */
  readonly threadStuck: (text: string) => void;
  readonly endSessions: (applicationName: string) => Promise<unknown>;
}

export interface ManagedExecutorOptions<E> {
  readonly kind: ExecutorKind;
  readonly applicationName: string;
  /** For messages. */
  readonly handlersModule: string | undefined;
  readonly graceMs: number;
  readonly timing: ExecutorTiming;
  readonly log: Logger;
  readonly metrics: Pick<Metrics, 'executorsBlocked' | 'executorsKilled'>;
  readonly spawn: (events: ExecutorEvents) => ExecutorHandle;
  readonly events: ManagedExecutorEvents<E>;
}
