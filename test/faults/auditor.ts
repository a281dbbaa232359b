/**
 * Checks the database after a scenario: every accepted job ended once, by allowed transitions, nothing is left open,
 * and every committed effect belongs to an attempt that was allowed to commit it.
 */
import type { Queryable } from '../../src/db/connect.ts';
import { jobStates, transitions } from '../../src/jobs/states.ts';
import type { JobState } from '../../src/jobs/states.ts';

export interface Audit {
  readonly jobs: number;
  readonly states: Partial<Record<JobState, number>>;
  /** Findings as text; empty when there are none. At most 20. */
  readonly faults: readonly string[];
}

/** The audit of a scenario without findings. */
export const allCompleted = (jobs: number): Audit => ({
  jobs,
  states: { completed: jobs },
  faults: [],
});

export interface Fault {
  readonly fault: string;
}

/** One statement that finds one kind of fault. */
export type Finder = (sql: Queryable) => PromiseLike<readonly Fault[]>;

export const maxFaults = 20;
/** Presented tokens of each kind. */
const maxTokens = 200;

/** Takes all jobs of the database together; `accepted` are the ids of all accepted jobs. */
export async function audit(sql: Queryable, accepted: readonly string[]): Promise<Audit> {
  const found: Fault[][] = [];
  for (const find of Object.values(finders)) found.push([...(await find(sql))]);
  found.push([...(await lostJobs(sql, accepted))]);
  const states = await sql<{ state: JobState; jobs: number }[]>`
    select state, count(*)::int as jobs from background_jobs group by state`;
  return {
    jobs: states.reduce((sum, { jobs }) => sum + jobs, 0),
    states: Object.fromEntries(states.map(({ state, jobs }) => [state, jobs])),
    faults: found.flat().map(({ fault }) => fault),
  };
}

export const lostJobs = (sql: Queryable, accepted: readonly string[]) => sql<Fault[]>`
  select format('job %s was accepted and is not there', a.id) as fault
  from unnest(${[...accepted]}::bigint[]) a (id)
  where not exists (select from background_jobs j where j.id = a.id) limit ${maxFaults}`;

const unended = (sql: Queryable) => sql<Fault[]>`
  select format('job %s (%s) has not ended: %s %s', id, job_type, state, state_detail) as fault
  from background_jobs where finished_at is null order by id limit ${maxFaults}`;

/** An open job stands in exactly one table of a state, an ended one in none, and a dead letter may be listed. */
export const misplaced = (sql: Queryable) => sql<Fault[]>`
  with place as (
    select job_id, 'waiting' as name from purser.waiting union all select job_id, 'later' from purser.later
    union all select job_id, 'parked' from purser.parked union all select job_id, 'in_flight' from purser.in_flight
  ), found as (
    select coalesce(j.id, p.job_id) as id, j.id is null as gone, max(j.outcome) as outcome, count(p.name) as places,
           string_agg(p.name, ' and ' order by p.name) as names
    from jobs j full join place p on p.job_id = j.id group by j.id, p.job_id is null, coalesce(j.id, p.job_id)
  )
  select format('job %s%s stands in %s', id, case when gone then ' (deleted)' else ' (' || coalesce(outcome, 'open') || ')'
    end, coalesce(names, 'no table')) as fault
  from found where gone or places <> case when outcome is null then 1 else 0 end
  union all
  select format('job %s is listed as a dead letter', d.job_id)
  from purser.dead_letters d left join jobs j on j.id = d.job_id
  where j.outcome is distinct from 'dead_letter' or j.discarded_at is not null
  limit ${maxFaults}`;

/**
 * An attempt stays under a dead worker: its lease ended more than `staleMs` ago, and the database has answered for as
 * long (`answeredSince`), so that the sweep could have taken it over.
 */
export const staleLeases = (sql: Queryable, staleMs: number, answeredSince: Date) => sql<Fault[]>`
  select format('job %s is still held by %s, whose lease ended at %s', job_id, worker_id, expires_at) as fault
  from purser.in_flight
  where token is not null
    and greatest(expires_at, ${answeredSince}) < clock_timestamp() - ${staleMs} * interval '1 millisecond'
  order by job_id limit ${maxFaults}`;

/** The counts of ended jobs are those of the jobs. */
export const miscounted = (sql: Queryable) => sql<Fault[]>`
  select format('%s %s: %s counted, %s there', job_type, outcome, coalesce(c.jobs, 0), coalesce(j.jobs, 0)) as fault
  from (select job_type, outcome, sum(jobs) as jobs from purser.job_counts group by 1, 2) c
  full join (select job_type, outcome, count(*) as jobs from jobs where outcome is not null group by 1, 2) j
    using (job_type, outcome)
  where c.jobs is distinct from j.jobs and coalesce(c.jobs, 0) <> coalesce(j.jobs, 0) limit ${maxFaults}`;

/** One event after the other, from nothing to one terminal state, each step one that the table allows. */
export function illegalPaths(sql: Queryable) {
  const steps = jobStates.flatMap((from) => transitions[from].map((to) => `${from}>${to}`));
  const ends = jobStates.filter((state) => transitions[state].length === 0);
  return sql<Fault[]>`
    with step as (
      select job_id, id, from_state, to_state,
             lag(to_state) over (partition by job_id order by id) as before
      from job_events
    ), path as (
      select j.id, j.state,
             string_agg(s.to_state, ' > ' order by s.id) as words,
             count(*) filter (where s.to_state = any(${ends})) as ends,
             (array_agg(s.to_state order by s.id desc))[1] as last,
             bool_and(s.from_state is not distinct from s.before) as unbroken,
             bool_and(s.from_state is null or s.from_state || '>' || s.to_state = any(${steps})) as legal
      from background_jobs j left join step s on s.job_id = j.id group by j.id, j.state
    )
    select format('job %s has the path %s, and its row says %s', id, words, state) as fault
    from path
    where not (coalesce(unbroken and legal, false) and ends <= 1 and last = state)
    order by id limit ${maxFaults}`;
}

const leftOpen = (sql: Queryable) => sql<Fault[]>`
  select format('job %s has ended and is still in flight', l.job_id) as fault
  from purser.in_flight l join jobs j on j.id = l.job_id where j.finished_at is not null
  limit ${maxFaults}`;

const overrunAttempts = (sql: Queryable) => sql<Fault[]>`
  select format('job %s is at attempt %s of %s', id, attempt, max_attempts) as fault
  from background_jobs where attempt > max_attempts order by id limit ${maxFaults}`;

/**
 * Rows of fault_effects: one that is committed with the completion exists exactly once, for a job
 * that completed; one of a fenced transaction exists at most once per token, and was written between the
 * begin and the end of an attempt.
 */
const wrongEffects = (sql: Queryable) => sql<Fault[]>`
  with spell as (
    select job_id, at as begun,
           lead(at, 1, 'infinity') over (partition by job_id order by id) as ended, to_state
    from job_events
  )
  select format('job %s (%s) has %s effects of its completion', j.id, j.state, count(e.id)) as fault
  from background_jobs j left join fault_effects e on e.job_id = j.id and e.kind = 'completion'
  where j.payload ? 'completes'
  group by j.id, j.state having count(e.id) <> case when j.state = 'completed' then 1 else 0 end
  union all
  select format('job %s has the effect %s %s times under one token', job_id, kind, count(*))
  from fault_effects group by job_id, token, kind having count(*) > 1
  union all
  select format('job %s has the effect %s of a stale attempt', e.job_id, e.kind)
  from fault_effects e
  where not exists (
    select from spell s where s.job_id = e.job_id and s.to_state = 'running'
      and e.at >= s.begun and e.at <= s.ended)
  limit ${maxFaults}`;

/**
 * The newest tokens of attempts that their workers ended, and of attempts that were taken over and had left an effect:
 * presented again, none opens anything. A completed job has to have left its token.
 */
const openedByOldTokens = (sql: Queryable) => sql<Fault[]>`
  with finished as (
    select token from purser.job_history where token is not null order by ended_at desc limit ${maxTokens}
  ), taken_over as (
    select e.token from fault_effects e
    where not exists (select from purser.in_flight f where f.token = e.token)
      and not exists (select from purser.job_history h where h.token = e.token)
    order by e.at desc limit ${maxTokens}
  )
  select format('%s takes the token of an ended attempt of job %s', o.opened, purser.job_of_token(o.token)) as fault
  from public.opened_by(array(select token from finished union select token from taken_over)) o
  union all
  select format('job %s has completed without a token', j.id)
  from jobs j
  where j.outcome = 'completed'
    and not exists (select from purser.job_history h where h.job_id = j.id and h.token is not null)
  limit ${maxFaults}`;

/** Of a finished scenario, but for the accepted jobs, which only the scenario knows. */
export const finders = {
  unended,
  misplaced,
  illegalPaths,
  leftOpen,
  miscounted,
  overrunAttempts,
  wrongEffects,
  openedByOldTokens,
} satisfies Record<string, Finder>;

/** The tenant table that handlers write to, and what presents tokens. */
export async function makeAuditable(sql: Queryable): Promise<void> {
  await sql`
    create table public.fault_effects (
      id bigint generated always as identity primary key,
      tenant_id text not null, job_id bigint not null, attempt integer not null,
      token uuid not null, kind text not null, at timestamptz not null default clock_timestamp())`;
  await sql`select purser.protect_table('public.fault_effects', 'select, insert')`;
  await sql`select purser.apply_tenancy((select uses_roles from purser.tenancy_mode()))`;
  await sql`
    create function public.opened_by(p_tokens uuid[]) returns table (token uuid, opened text)
    language plpgsql volatile as $$
    begin
      foreach token in array p_tokens loop
        perform set_config('purser.token', token::text, true);
        -- A setting that holds no token is refused too, and would prove nothing.
        if purser.token_from_session() is distinct from token then
          raise exception 'the session does not carry the token';
        end if;
        begin
          if purser.current_tenant() is not null then
            opened := 'current_tenant';
            return next;
          end if;
        exception when sqlstate 'PU001' then null;
        end;
        begin
          perform purser.commit_fence();
          opened := 'commit_fence';
          return next;
        exception when sqlstate 'PU002' then null;
        end;
      end loop;
      perform set_config('purser.token', '', true);
    end $$`;
}
