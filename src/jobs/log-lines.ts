/**
 * Log lines of handlers, stored with their job: the first 500 lines of a job, 2,000 characters each, and one more
 * line that says that there were more. A line that Postgres cannot store as it is does not affect the others.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Queryable } from '../db/connect.ts';
import { codeOf } from '../errors.ts';

const maxLines = 500;
const maxLength = 2_000;
const cutMark = ` [cut at ${maxLength}]`;
const maxLevelLength = 20;
const linesPerStatement = 1_000;

export interface LogReport {
  readonly jobId: string;
  readonly tenantId: string;
  readonly attempt: number;
  readonly lines: readonly {
    /** ISO 8601. */
    readonly at: string;
    readonly level: string;
    readonly text: string;
  }[];
}

/** Stores lines in the given order, without those of deleted jobs. Returns the number of stored lines. */
export async function storeLogLines(
  sql: Queryable,
  reports: readonly LogReport[],
): Promise<number> {
  const lines = reports.flatMap(storableLines);
  let stored = 0;
  for (let from = 0; from < lines.length; from += linesPerStatement) {
    stored += await appendWithRetry(sql, lines.slice(from, from + linesPerStatement));
  }
  return stored;
}

interface StorableLine {
  readonly job_id: string;
  readonly tenant_id: string;
  readonly attempt: number;
  readonly at: string;
  readonly level: string;
  readonly text: string;
}

function storableLines(report: LogReport): StorableLine[] {
  // One more than is kept: the statement turns it into the last line.
  return report.lines.slice(0, maxLines + 1).map(({ at, level, text }) => ({
    job_id: report.jobId,
    tenant_id: report.tenantId,
    attempt: report.attempt,
    at: storableTime(at),
    level: storableText(level, maxLevelLength),
    text: storableText(
      text.length > maxLength ? text.slice(0, maxLength - cutMark.length) + cutMark : text,
      maxLength,
    ),
  }));
}

/** Postgres cannot store NUL characters and lone surrogates. */
function storableText(text: string, length: number): string {
  return text.slice(0, length).replaceAll('\u0000', '\uFFFD').toWellFormed();
}

/** A time that Postgres cannot read becomes the current time. */
function storableTime(at: string): string {
  const time = new Date(at);
  const year = time.getUTCFullYear();
  return (year >= 1 && year <= 9_999 ? time : new Date()).toISOString();
}

/** Another worker wrote lines of the same job, or the job was deleted, at the same time. */
const concurrent = new Set(['23505', '23503', '40P01']);
const maxTries = 10;

async function appendWithRetry(sql: Queryable, lines: readonly StorableLine[]): Promise<number> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await appendLines(sql, lines);
    } catch (error) {
      if (!concurrent.has(codeOf(error)) || tries === maxTries) throw error;
      await sleep(Math.random() * 10 * tries);
    }
  }
}

async function appendLines(sql: Queryable, lines: readonly StorableLine[]): Promise<number> {
  const stored = await sql`
    with line as materialized (
      select s.*, row_number() over (partition by s.job_id, s.tenant_id order by s.place) as rank
      from rows from (jsonb_to_recordset(${JSON.stringify(lines)}::text::jsonb) as (
        job_id bigint, tenant_id text, attempt int, at timestamptz, level text, text text
      )) with ordinality as s (job_id, tenant_id, attempt, at, level, text, place)
    ), job as (
      select j.id, j.tenant_id, (
        select coalesce(max(l.line_no), 0) from public.job_log_lines l where l.job_id = j.id) as lines
      from public.jobs j
      where (j.id, j.tenant_id) in (select job_id, tenant_id from line)
    )
    insert into public.job_log_lines (job_id, line_no, tenant_id, attempt, at, level, text)
    select j.id, j.lines + l.rank, j.tenant_id, l.attempt, l.at,
           case when j.lines + l.rank > ${maxLines} then 'warn' else l.level end,
           case when j.lines + l.rank > ${maxLines}
             then ${`there were more: the first ${maxLines} lines of a job are kept`} else l.text end
    from line l join job j on j.id = l.job_id and j.tenant_id = l.tenant_id
    where j.lines + l.rank <= ${maxLines + 1}
    order by j.id, l.rank`;
  return stored.count;
}

export interface LogLine {
  readonly lineNo: number;
  readonly attempt: number;
  readonly at: Date;
  readonly level: string;
  readonly text: string;
}

/** The newest `limit` lines of a job, in order of time. */
export async function listLogLines(
  sql: Queryable,
  jobId: string,
  limit: number,
): Promise<LogLine[]> {
  return sql<LogLine[]>`
    select * from (
      select line_no as "lineNo", attempt, at, level, text
      from public.job_log_lines where job_id = ${jobId} order by line_no desc limit ${limit}
    ) newest order by "lineNo"`;
}
