/**
 * What handlers logged, kept beside their job: the first 500 lines of a job, 2,000 characters each, and one
 * more that says so where there were more. Whatever a line holds, it costs no other line its place.
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

/** Stores lines in the order given; those of jobs that are gone are left out. Returns how many it stored. */
export async function storeLogLines(
  sql: Queryable,
  reports: readonly LogReport[],
): Promise<number> {
  const lines = reports.flatMap(storableLines);
  let stored = 0;
  for (let from = 0; from < lines.length; from += linesPerStatement) {
    stored += await appendAgainstOthers(sql, lines.slice(from, from + linesPerStatement));
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
  // One more than is kept, so that the statement sees that there were more.
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

/** Postgres takes neither NUL nor half a surrogate pair. */
function storableText(text: string, length: number): string {
  return text.slice(0, length).replaceAll('\u0000', '\uFFFD').toWellFormed();
}

/** A time that Postgres would not read is that of the storing. */
function storableTime(at: string): string {
  const time = new Date(at);
  const year = time.getUTCFullYear();
  return (year >= 1 && year <= 9_999 ? time : new Date()).toISOString();
}

/** Another worker wrote for the same job, or the job was deleted, at the same moment. */
const concurrent = new Set(['23505', '23503', '40P01']);
const maxTries = 10;

async function appendAgainstOthers(
  sql: Queryable,
  lines: readonly StorableLine[],
): Promise<number> {
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
    with said as materialized (
      select s.*, row_number() over (partition by s.job_id, s.tenant_id order by s.place) as turn
      from rows from (jsonb_to_recordset(${JSON.stringify(lines)}::text::jsonb) as (
        job_id bigint, tenant_id text, attempt int, at timestamptz, level text, text text
      )) with ordinality as s (job_id, tenant_id, attempt, at, level, text, place)
    ), kept as (
      select j.id, j.tenant_id, (
        select coalesce(max(l.line_no), 0) from public.job_log_lines l where l.job_id = j.id) as lines
      from public.background_jobs j
      where (j.id, j.tenant_id) in (select job_id, tenant_id from said)
    )
    insert into public.job_log_lines (job_id, line_no, tenant_id, attempt, at, level, text)
    select k.id, k.lines + s.turn, k.tenant_id, s.attempt, s.at,
           case when k.lines + s.turn > ${maxLines} then 'warn' else s.level end,
           case when k.lines + s.turn > ${maxLines}
             then ${`there were more: the first ${maxLines} lines of a job are kept`} else s.text end
    from said s join kept k on k.id = s.job_id and k.tenant_id = s.tenant_id
    where k.lines + s.turn <= ${maxLines + 1}
    order by k.id, s.turn`;
  return stored.count;
}

export interface LogLine {
  readonly lineNo: number;
  readonly attempt: number;
  readonly at: Date;
  readonly level: string;
  readonly text: string;
}

/** The newest `limit` lines of a job, oldest of them first. */
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
