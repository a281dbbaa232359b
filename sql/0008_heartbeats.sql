-- One row per living process: health and metrics of roles that have no port, and the fleet's capacity.

create table public.heartbeats (
  process_id text primary key,
  role text not null check (role in ('scheduler', 'worker', 'web')),
  version text not null,
  hostname text not null,
  pid integer not null,
  started_at timestamptz not null default now(),
  beat_at timestamptz not null default now(),
  job_types text[] not null default '{}',
  slots integer not null default 0,
  running integer not null default 0,
  progressed_at timestamptz not null default now(),
  metrics jsonb not null default '[]'
);
create index ix_heartbeats_beat_at on public.heartbeats (beat_at);
