/**
 * The metrics of one process. Names from the customer's checklist are kept. Roles without a port store the
 * JSON form of this registry in their heartbeat row, and the web role exports them.
 */
import { Counter, Histogram, Registry } from 'prom-client';

export type Metrics = ReturnType<typeof createMetrics>;

const durationBuckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5];
const jobBuckets = [0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 900];

export function createMetrics() {
  const registry = new Registry();
  const registers = [registry];
  return {
    registry,
    rlsEnforcementFailed: new Counter({
      name: 'rls_enforcement_failed_total',
      help: 'Queries refused because they had no valid tenant context',
      registers,
    }),
    decryptionFailed: new Counter({
      name: 'decryption_failed_total',
      help: 'Encrypted values that could not be decrypted',
      registers,
    }),
    budgetCheckSeconds: new Histogram({
      name: 'llm_budget_check_duration_seconds',
      help: 'Time to check and reserve LLM budget',
      buckets: durationBuckets,
      registers,
    }),
    llmCalls: new Counter({
      name: 'llm_api_calls_total',
      help: 'Calls of an LLM or of the offline analyst, by outcome',
      labelNames: ['status'] as const,
      registers,
    }),
    llmHeldUsd: new Counter({
      name: 'llm_held_usd_total',
      help: 'Held for LLM calls that were settled since: llm_charged_usd_total / this is the hold efficiency',
      labelNames: ['model'] as const,
      registers,
    }),
    llmChargedUsd: new Counter({
      name: 'llm_charged_usd_total',
      help: 'Charged for LLM calls',
      labelNames: ['model'] as const,
      registers,
    }),
    llmBreakerChanges: new Counter({
      name: 'llm_breaker_changes_total',
      help: 'Changes of circuit breakers of LLM calls that this worker made, by kind (credential, model) and new state',
      labelNames: ['kind', 'state'] as const,
      registers,
    }),
    jobTimeouts: new Counter({
      name: 'job_timeout_total',
      help: 'Attempts that ended at their deadline',
      labelNames: ['job_type'] as const,
      registers,
    }),
    jobSeconds: new Histogram({
      name: 'job_execution_duration_seconds',
      help: 'Duration of attempts',
      labelNames: ['job_type'] as const,
      buckets: jobBuckets,
      registers,
    }),
    attempts: new Counter({
      name: 'job_attempts_total',
      help: 'Attempts by outcome',
      labelNames: ['job_type', 'end'] as const,
      registers,
    }),
    staleTokens: new Counter({
      name: 'stale_tokens_refused_total',
      help: 'Results refused because their attempt was no longer running',
      registers,
    }),
    executorsBlocked: new Counter({
      name: 'executor_blocked_total',
      help: 'Threads whose event loop a handler blocked',
      registers,
    }),
    executorsKilled: new Counter({
      name: 'executor_killed_total',
      help: 'Threads and processes of handlers that were terminated or crashed',
      labelNames: ['how'] as const,
      registers,
    }),
    deadlocks: new Counter({
      name: 'scheduler_deadlock_detected_total',
      help: 'Deadlocks and serialization failures in the scheduler',
      registers,
    }),
    deadlockBackoffSeconds: new Histogram({
      name: 'scheduler_deadlock_retry_backoff_seconds',
      help: 'Wait of the scheduler before it retried after a deadlock',
      buckets: [1, 2, 4],
      registers,
    }),
    swept: new Counter({
      name: 'purser_swept_total',
      help: 'Rows that the sweep returned to the queue, ended or removed, by kind',
      labelNames: ['kind'] as const,
      registers,
    }),
    ticks: new Counter({
      name: 'scheduler_ticks_total',
      help: 'Ticks of schedules by result: created, deduplicated or missed',
      labelNames: ['result'] as const,
      registers,
    }),
    dispatched: new Counter({
      name: 'jobs_dispatched_total',
      help: 'Jobs added to a queue',
      labelNames: ['job_type'] as const,
      registers,
    }),
  };
}
