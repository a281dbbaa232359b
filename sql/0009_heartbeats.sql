-- One row per living process: health and metrics of roles that have no port, and the fleet's capacity.

create table public.heartbeats (
  process_id text primary key,
  role text not null check (role in ('scheduler', 'worker', 'web')),
  version text not null,
  hostname text not null,
  pid integer not null,
  started_at timestamptz not null default now(),
  beat_at timestamptz not null default now(),
  -- What the clock of the process said when the heartbeat was written; beat_at is the database's.
  process_clock_at timestamptz,
  job_types text[] not null default '{}',
  slots integer not null default 0,
  -- For each of job_types: how many jobs of it the worker runs at once (no more than it runs at all, and no more than
  -- the handler allows), and how long one runs, a moving average in milliseconds; null where it is not known.
  type_slots integer[] not null default '{}',
  type_run_ms real[],
  running integer not null default 0,
  progressed_at timestamptz not null default now(),
  metrics jsonb not null default '[]',
  -- By key version, a mark of the key that the process knows under it; empty without ENCRYPTION_KEY.
  known_keys jsonb not null default '{}',
  primary_key_version integer
);
create index ix_heartbeats_beat_at on public.heartbeats (beat_at);
