/** What a member of the pool is, is told and tells. */
import type { Logger } from '../../log.ts';
import type { Metrics } from '../../metrics.ts';
import type { Assignment } from './assignment.ts';
import type { FromExecutor } from './protocol.ts';
import type { ExecutorTiming } from './timing.ts';

/** shared: many jobs in one thread. exclusive: a thread for one job. alone: a process for one suspect. */
export type MemberKind = 'shared' | 'exclusive' | 'alone';

/** Database connections of an executor's pool. */
export const executorConnections: Readonly<Record<MemberKind, number>> = {
  shared: 2,
  exclusive: 1,
  alone: 1,
};

/** What the pool hears of a member; `M` is the member. */
export interface MemberEvents<M> {
  /** What concerns others than the member: ready, unfit, report, llm_call, llm_judged. */
  readonly message: (member: M, message: FromExecutor) => void;
  /** Not begun there, and never will be. */
  readonly again: (assignments: readonly Assignment[]) => void;
  /** It has nothing left, or is dead. */
  readonly idle: (member: M) => void;
  /** Its thread does not die. */
  readonly wedged: (text: string) => void;
  readonly endSessions: (applicationName: string) => Promise<unknown>;
}

export interface MemberOptions<M> {
  readonly kind: MemberKind;
  readonly applicationName: string;
  readonly graceMs: number;
  readonly timing: ExecutorTiming;
  readonly log: Logger;
  readonly metrics: Pick<Metrics, 'executorsBlocked' | 'executorsKilled'>;
  readonly events: MemberEvents<M>;
}
