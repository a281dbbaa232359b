drop table public.heartbeats;
