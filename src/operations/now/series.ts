/** What the sweep has sampled of the last 24 hours, in buckets of an hour, the oldest first. Reads only. */
import type { Queryable } from '../../db/connect.ts';

const hoursShown = 24;

export interface HourSeries {
  /** Jobs that ended, by outcome. */
  readonly completed: readonly number[];
  readonly deadLetters: readonly number[];
  readonly cancelled: readonly number[];
  /** Attempts that failed, and jobs that expired. */
  readonly failedAttempts: readonly number[];
  /** Exact decimal USD that was settled, of which corrections may make it negative. */
  readonly spentUsd: readonly string[];
  readonly scheduleLagMs: readonly number[];
}

export interface SampledHours extends HourSeries {
  /** Start of the first bucket; the last one ends five minutes after the newest slot began. */
  readonly from: Date;
  /** null: nothing was ever sampled. */
  readonly sampledAt: Date | null;
  /** The longest wait in each bucket, by job type. */
  readonly waitsMs: ReadonlyMap<string, readonly number[]>;
}

interface EndsRow {
  readonly hour: number;
  readonly outcome: 'completed' | 'dead_letter' | 'cancelled';
  readonly jobs: number;
}

interface SampleRow {
  readonly hour: number;
  readonly failedAttempts: number;
  readonly spentUsd: string;
  readonly scheduleLagMs: number;
}

interface WaitRow {
  readonly hour: number;
  readonly jobType: string;
  readonly waitMs: number;
}

export async function readHours(sql: Queryable): Promise<SampledHours> {
  const [edge] = await sql<{ from: Date; sampledAt: Date | null }[]>`
    select purser.slot_of(now()) + interval '5 minutes' - ${hoursShown} * interval '1 hour' as from,
      (select max(taken_at) from purser.fleet_samples) as "sampledAt"`;
  if (edge === undefined) throw new Error('the slot of now was not read');
  const { from, sampledAt } = edge;
  const hourOf = sql`floor(extract(epoch from s.slot - ${from}::timestamptz) / 3600)::int`;
  const ends = await sql<EndsRow[]>`
    select ${hourOf} as hour, s.outcome, sum(s.jobs)::float8 as jobs
    from purser.job_ends s where s.slot >= ${from} group by 1, 2`;
  const samples = await sql<SampleRow[]>`
    select ${hourOf} as hour, sum(s.failed_attempts)::float8 as "failedAttempts",
      trim_scale(sum(s.spent_usd))::text as "spentUsd", max(s.schedule_lag_ms)::float8 as "scheduleLagMs"
    from purser.fleet_samples s where s.slot >= ${from} group by 1`;
  const waits = await sql<WaitRow[]>`
    select ${hourOf} as hour, s.job_type as "jobType", max(s.wait_ms)::float8 as "waitMs"
    from purser.type_waits s where s.slot >= ${from} group by 1, 2`;
  const endsOf = (outcome: EndsRow['outcome']): number[] =>
    buckets(
      ends.filter((row) => row.outcome === outcome),
      ({ jobs }) => jobs,
      0,
    );
  const types = [...new Set(waits.map(({ jobType }) => jobType))].toSorted();
  return {
    from,
    sampledAt,
    completed: endsOf('completed'),
    deadLetters: endsOf('dead_letter'),
    cancelled: endsOf('cancelled'),
    failedAttempts: buckets(samples, ({ failedAttempts }) => failedAttempts, 0),
    spentUsd: buckets(samples, ({ spentUsd }) => spentUsd, '0'),
    scheduleLagMs: buckets(samples, ({ scheduleLagMs }) => scheduleLagMs, 0),
    waitsMs: new Map(
      types.map((type) => [
        type,
        buckets(
          waits.filter(({ jobType }) => jobType === type),
          ({ waitMs }) => waitMs,
          0,
        ),
      ]),
    ),
  };
}

function buckets<Row extends { readonly hour: number }, Value>(
  rows: readonly Row[],
  valueOf: (row: Row) => Value,
  without: Value,
): Value[] {
  const byHour = new Map(rows.map((row) => [row.hour, valueOf(row)]));
  return Array.from({ length: hoursShown }, (_, hour) => byHour.get(hour) ?? without);
}
