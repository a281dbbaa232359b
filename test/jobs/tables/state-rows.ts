/** Jobs in the tables of open jobs whose columns have values that no default has, and no other column. */
import { randomUUID } from 'node:crypto';
import type { Queryable, Sql } from '../../../src/db/connect.ts';
import { newToken } from '../../../src/jobs/attempts.ts';
import type { EnqueueRequest } from '../../../src/jobs/request.ts';
import { addJob } from '../job-steps.ts';

export type OpenTable = 'waiting' | 'later' | 'parked' | 'in_flight';
/** As Postgres shows a row in JSON: times with microseconds. */
export type Row = Readonly<Record<string, unknown>>;

const unusual: Row = {
  group_name: 'user:42',
  priority: 7,
  scheduled_for: '2020-01-02T03:04:05.000006+00:00',
  give_up_at: '2091-02-03T04:05:06.000007+00:00',
  attempt: 11,
  payload_bytes: 13,
  failed: false,
  losses: 17,
  losses_alone: 19,
  suspect: true,
  needed_usd: 0.000000023,
  first_parked_at: '2019-03-04T05:06:07.000008+00:00',
  detail: { reason: 'of the test' },
  last_error: { code: 'earlier', message: 'failed before' },
};

const isRepeated = (value: unknown, values: readonly unknown[]): boolean =>
  values.filter((other) => JSON.stringify(other) === JSON.stringify(value)).length > 1;

async function rowIn(sql: Queryable, table: OpenTable, jobId: string): Promise<Row | undefined> {
  const [found] = await sql<{ row: Row }[]>`
    select to_jsonb(s) as row from purser.${sql(table)} s where s.job_id = ${jobId}`;
  return found?.row;
}

/** The job's row, and the name of the one table that has it. */
export async function placeOf(sql: Queryable, jobId: string): Promise<{ table: string; row: Row }> {
  const [place, ...others] = await sql<{ table: string; row: Row }[]>`
    select 'waiting' as table, to_jsonb(s) as row from purser.waiting s where s.job_id = ${jobId}
    union all select 'later', to_jsonb(s) from purser.later s where s.job_id = ${jobId}
    union all select 'parked', to_jsonb(s) from purser.parked s where s.job_id = ${jobId}
    union all select 'in_flight', to_jsonb(s) from purser.in_flight s where s.job_id = ${jobId}`;
  if (place === undefined || others.length > 0) {
    throw new Error(`job ${jobId} stands in ${place === undefined ? 'no table' : 'two tables'}`);
  }
  return place;
}

export interface ArrangedJob {
  readonly jobId: string;
  readonly row: Row;
}

/** A job with such a row in this table. Throws where two of its columns have the same value, or one has none. */
export async function jobIn(
  sql: Sql,
  table: OpenTable,
  tenantId: string,
  values: Row = {},
  request: Partial<EnqueueRequest> = {},
): Promise<ArrangedJob> {
  const jobId = await addJob(sql, tenantId, { group: 'user:42', ...request });
  const wanted = {
    job_id: jobId,
    tenant_id: tenantId,
    job_type: request.jobType ?? 'test_step',
    ...unusual,
    ...(table === 'in_flight'
      ? { queued_at: '2020-05-06T07:08:09.000009Z', alone: false, limited: false }
      : {}),
    ...values,
  };
  await sql`delete from purser.waiting where job_id = ${jobId}`;
  await sql`
    insert into purser.${sql(table)}
    select * from jsonb_populate_record(null::purser.${sql(table)}, ${JSON.stringify(wanted)}::text::jsonb)`;
  const row = await rowIn(sql, table, jobId);
  if (row === undefined) throw new Error(`job ${jobId} is not in ${table}`);
  // The id, a bigint that no other column is, may be any small number.
  const { job_id: _, ...others } = openColumns(row);
  const alike = Object.keys(others).filter(
    (column) => row[column] === null || isRepeated(row[column], Object.values(others)),
  );
  const allowed = Object.keys(values).filter((column) => values[column] === null);
  if (alike.some((column) => !allowed.includes(column))) {
    throw new Error(`columns without a value of their own: ${alike.join(', ')}`);
  }
  return { jobId, row };
}

/** A job that has run for an hour in an entry, with a lease that is over. */
export async function runningIn(
  sql: Sql,
  tenantId: string,
  values: Row = {},
): Promise<ArrangedJob & { readonly token: string }> {
  const { jobId } = await jobIn(sql, 'in_flight', tenantId, values);
  const token = newToken(jobId);
  const [found] = await sql<{ row: Row }[]>`
    update purser.in_flight f
    set entry_id = ${randomUUID()}, token = ${token}, worker_id = 'worker-1', started_at = now() - interval '1 hour',
        expires_at = now() - interval '1 minute'
    where job_id = ${jobId} returning to_jsonb(f) as row`;
  return { jobId, token, row: found?.row ?? {} };
}

/** Of a row of in_flight: the columns that all tables of open jobs have. */
export function openColumns(row: Row): Row {
  const ofFlight =
    /^(entry_id|queued_at|token|worker_id|started_at|expires_at|alone|progress|cancel_requested|limited)$/;
  return Object.fromEntries(Object.entries(row).filter(([column]) => !ofFlight.test(column)));
}
