/** A text that changes whenever something changes that the pages show. Its cost does not grow with the number of jobs. */
import type { Queryable } from '../../db/connect.ts';

export async function readVersion(sql: Queryable): Promise<string> {
  const [row] = await sql<{ version: string }[]>`
    select md5(concat_ws(' ',
      (select max(id) from purser.job_history), (select max(id) from public.jobs),
      (select max(id) from public.operator_acts), (select max(id) from public.llm_ledger),
      (select max(taken_at) from purser.fleet_samples), (select max(dispatched_at) from purser.dispatch_turns),
      (select concat_ws(' ', count(*), count(token), max(started_at), max(progress->>'at')) from purser.in_flight),
      (select concat_ws(' ', count(*), max(at)) from public.pauses),
      (select string_agg(concat_ws(' ', id, state, done, skipped, undone), ',' order by id)
       from purser.batches where state in ('running', 'undoing')),
      (select string_agg(concat_ws(' ', process_id, drain_state, beat_at < now() - interval '15 seconds'), ',' order by process_id)
       from public.heartbeats))) as version`;
  return row?.version ?? '';
}
