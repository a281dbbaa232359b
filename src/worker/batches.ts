import { beginAttempts, finishAttempts } from '../jobs/attempts.ts';
import type { BeginRequest, BegunAttempt, FinishRequest, FinishResult } from '../jobs/attempts.ts';
export interface AttemptBatches {
  begin(r: BeginRequest): Promise<BegunAttempt | undefined>;
  finish(r: FinishRequest): Promise<FinishResult>;
}
export function createBatches(o: any): AttemptBatches {
  return {
    begin: async (r) => (await beginAttempts(o.sql, [r], o.workerId, o.leaseMs))[0],
    finish: async (r) => (await finishAttempts(o.sql, [r])).get(r.jobId) ?? 'stale',
  };
}
