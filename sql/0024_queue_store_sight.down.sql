alter table public.heartbeats drop column queue_store_away_since, drop column queue_store_away_at;
