-- What operators did: one row per act, written in the transaction of the act and never changed.

-- It outlives what it names, so it refers to nothing, and it holds no value of a payload or of a secret: of those only the
-- names of fields and keyed hashes.
create table public.operator_acts (
  id bigint generated always as identity primary key,
  at timestamptz not null default clock_timestamp(),
  -- The name of the operator, and what proves it: a session or a token of the web role, the one login of the environment,
  -- or nothing (asserted): the user of the operating system, on `host`, said so.
  operator text not null,
  proof text not null check (proof in ('session', 'token', 'environment', 'asserted')),
  host text,
  door text not null check (door in ('cli', 'api', 'console', 'board')),
  act text not null check (act ~ '^[a-z][a-z_]*$'),
  -- What it acted on: the tenant and the job type where it is about one, and the rest of the filter or the name.
  tenant_id text,
  job_type text,
  target jsonb not null default '{}',
  reason text,
  -- How many rows it changed, and the jobs among them, at most 1,000.
  affected bigint not null default 1 check (affected >= 0),
  job_ids bigint[] not null default '{}' check (cardinality(job_ids) <= 1000),
  before jsonb,
  after jsonb
);
create index ix_operator_acts_tenant on public.operator_acts (tenant_id, id);
create index ix_operator_acts_job_ids on public.operator_acts using gin (job_ids);

create trigger check_names after insert or update of operator on public.operator_acts
  for each row execute function purser.check_names('operator', 'operator');
create trigger append_only before update or delete or truncate on public.operator_acts
  for each statement execute function purser.refuse_change();

select purser.protect_table('public.operator_acts', '');
