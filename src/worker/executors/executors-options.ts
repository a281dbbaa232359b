/** What the pool of executors is opened with, and the events that it reports to the worker. */
import type { LlmGateway } from '../../llm/create-llm.ts';
import type { Logger } from '../../log.ts';
import type { Metrics } from '../../metrics.ts';
import type { ExecutorSetup } from './protocol.ts';
import type { SpawnExecutor } from './spawn.ts';
import type { Report } from './thread/attempt-log.ts';
import type { ExecutorTiming } from './timing.ts';

export interface ExecutorsOptions {
  readonly setup: Omit<ExecutorSetup, 'tenantConnections' | 'applicationName'>;
  /** Names the sessions of each executor on the server, followed by a number. At most 50 characters. */
  readonly applicationName: string;
  readonly threads: number;
  /** Waiting suspects occupy slots of the worker, so more than this are returned and run later. */
  readonly maxWaitingSuspects: number;
  readonly llm: LlmGateway;
  readonly log: Logger;
  readonly metrics: Pick<Metrics, 'executorsBlocked' | 'executorsKilled'>;
  readonly spawn: { readonly thread: SpawnExecutor; readonly process: SpawnExecutor };
  readonly endSessions: (applicationName: string) => Promise<unknown>;
  readonly timing?: Partial<ExecutorTiming>;
}

/** Events that the pool reports to the worker. */
export interface ExecutorsListener {
  readonly report: (token: string, report: Report) => void;
  /** A thread cannot be terminated: the worker has to stop, and its process to end by SIGKILL. */
  readonly threadStuck: (text: string) => void;
}
