/** Figures of a phase, by the clock of Postgres: its rows, and the times of the commits that made them. */
import type { Sql } from '../../src/db/connect.ts';
import { quantile, rounded } from '../jobs/report.ts';
import type { Row } from '../jobs/report.ts';
import { tenantCount } from './fleet.ts';
import type { Outcome } from './phase.ts';

interface JobTimes {
  readonly tenantId: string;
  readonly outcome: string | null;
  /** Milliseconds after the due time; of the claim, begin and commit of its transaction. */
  readonly claimBegunMs: number;
  readonly claimedMs: number;
  readonly claimedBy: string;
  readonly dispatchedMs: number;
  readonly completedMs: number;
  readonly attemptMs: number;
  readonly refused: number;
}

async function jobTimes(sql: Sql, { phase, afterId, dueAt }: Outcome): Promise<JobTimes[]> {
  return sql<JobTimes[]>`
    select j.tenant_id as "tenantId", j.outcome, k.claimed_by as "claimedBy",
      1000 * extract(epoch from j.created_at - ${dueAt})::float8 as "claimBegunMs",
      1000 * extract(epoch from pg_xact_commit_timestamp(k.xmin) - ${dueAt})::float8 as "claimedMs",
      1000 * extract(epoch from h.queued_at - ${dueAt})::float8 as "dispatchedMs",
      1000 * extract(epoch from h.ended_at - ${dueAt})::float8 as "completedMs",
      1000 * extract(epoch from h.ended_at - h.started_at)::float8 as "attemptMs",
      coalesce((j.result->>'refused')::int, 0) as refused
    from jobs j
    left join purser.ticks k on k.job_id = j.id
    left join purser.job_history h on h.job_id = j.id and h.to_state = 'completed'
    where j.job_type = ${phase.jobType} and j.id > ${afterId}::bigint`;
}

interface Calls {
  readonly calls: number;
  /** From the mark as sent to the begin of the settlement: the request, and what waits between. */
  readonly sentMs: number;
  /** From the begin of the settlement to its commit. */
  readonly settleMs: number;
  readonly reservedUsd: string;
  readonly spentUsd: string;
}

async function callsOf(sql: Sql, { phase, afterId }: Outcome): Promise<Calls> {
  const [row] = await sql<Calls[]>`
    select count(*)::int as calls,
      1000 * avg(extract(epoch from r.closed_at - r.sent_at))::float8 as "sentMs",
      1000 * avg(extract(epoch from pg_xact_commit_timestamp(u.xmin) - r.closed_at))::float8 as "settleMs",
      coalesce(sum(r.estimated_cost_usd), 0)::text as "reservedUsd", coalesce(sum(u.cost_usd), 0)::text as "spentUsd"
    from llm_reservations r join jobs j on j.id = r.job_id
    left join llm_usage u on u.reservation_id = r.id
    where j.job_type = ${phase.jobType} and j.id > ${afterId}::bigint`;
  if (row === undefined) throw new Error('no row of calls');
  return row;
}

/** What any tenant has above its limit, holds included, and what is still held. */
async function budgetsOf(sql: Sql): Promise<{ overspendUsd: string; heldUsd: string }> {
  const [row] = await sql<{ overspendUsd: string; heldUsd: string }[]>`
    select trim_scale(greatest(0, max(-available_usd)))::text as "overspendUsd",
      trim_scale(sum(reserved_usd))::text as "heldUsd" from llm_budget_status`;
  if (row === undefined) throw new Error('no budgets');
  return row;
}

export interface Figures {
  readonly jobs: Row;
  readonly scheduler: Row;
  readonly time: Row;
  readonly money: Row;
  /** Milliseconds of a job in reserve and settle, and in all. */
  readonly budgetMs: number;
  readonly attemptMs: number;
  /** What ends the benchmark with exit code 1. */
  readonly faults: readonly string[];
}

const dollars = (usd: string): string => `$${Number(usd).toFixed(6)}`;

export async function figuresOf(sql: Sql, outcome: Outcome): Promise<Figures> {
  const { phase, deadlocks, checks } = outcome;
  const jobs = await jobTimes(sql, outcome);
  const calls = await callsOf(sql, outcome);
  const budgets = await budgetsOf(sql);
  const numbers = (of: (job: JobTimes) => number): number[] => jobs.map(of);
  const at = (share: number, of: (job: JobTimes) => number): number =>
    rounded(quantile(numbers(of), share), 0);
  const tenants = new Set(jobs.map(({ tenantId }) => tenantId)).size;
  const completed = jobs.filter((job) => job.outcome === 'completed').length;
  const claimBegunMs = Math.min(...numbers((job) => job.claimBegunMs));
  const perSecond = (untilMs: number): number =>
    rounded((1_000 * jobs.length) / (untilMs - claimBegunMs), 0);
  const attemptMs = mean(numbers((job) => job.attemptMs));
  const reserveMs = checks.ms / checks.count;
  // The mark as sent and the wait for the settlement are part of it, and of the request what HTTP takes.
  const aroundMs = calls.sentMs - phase.llmMs;
  const share = (ms: number): string => `${((100 * ms) / attemptMs).toFixed(1)} %`;
  const refused = numbers((job) => job.refused).reduce((sum, count) => sum + count, 0);
  const faults = [
    ...(deadlocks === 0 ? [] : [`${deadlocks} deadlocks`]),
    ...(jobs.length === tenantCount && tenants === tenantCount
      ? []
      : [`${jobs.length} jobs of ${tenants} tenants instead of one each of ${tenantCount}`]),
    ...(completed === tenantCount ? [] : [`${completed} of ${tenantCount} jobs completed`]),
    ...(Number(budgets.overspendUsd) === 0 ? [] : [`overspend of $${budgets.overspendUsd}`]),
  ];
  return {
    jobs: {
      phase: phase.name,
      tenants,
      jobs: jobs.length,
      completed,
      deadlocks,
      'due to completed p50 ms': at(0.5, (job) => job.completedMs),
      p95: at(0.95, (job) => job.completedMs),
      max: at(1, (job) => job.completedMs),
    },
    scheduler: {
      phase: phase.name,
      'claimed by': new Set(jobs.map(({ claimedBy }) => claimedBy)).size,
      'due to claim ms': rounded(claimBegunMs, 0),
      'claimed/s': perSecond(Math.max(...numbers((job) => job.claimedMs))),
      'claimed and dispatched/s': perSecond(Math.max(...numbers((job) => job.dispatchedMs))),
      'claim to dispatch p50 ms': at(0.5, (job) => job.dispatchedMs - job.claimBegunMs),
      p95: at(0.95, (job) => job.dispatchedMs - job.claimBegunMs),
    },
    time: {
      phase: phase.name,
      calls: calls.calls,
      'attempt ms': rounded(attemptMs, 0),
      'LLM ms': phase.llmMs,
      'reserve ms': rounded(reserveMs, 1),
      'mark, HTTP, wait ms': rounded(aroundMs, 1),
      'settle ms': rounded(calls.settleMs, 1),
      'reserve and settle': share(reserveMs + calls.settleMs),
      'with mark, HTTP, wait': share(reserveMs + aroundMs + calls.settleMs),
      LLM: share(phase.llmMs),
    },
    money: {
      phase: phase.name,
      'refused calls': refused,
      reserved: dollars(calls.reservedUsd),
      spent: dollars(calls.spentUsd),
      'still held': dollars(budgets.heldUsd),
      overspend: dollars(budgets.overspendUsd),
    },
    budgetMs: reserveMs + calls.settleMs,
    attemptMs,
    faults,
  };
}

const mean = (samples: readonly number[]): number =>
  samples.reduce((sum, sample) => sum + sample, 0) / samples.length;
