-- Whether a process reaches the queue store, in its heartbeat: while the store is away a worker does not beat, and "no
-- worker" would hide the cause. Written when the store stops answering, with each failure after that, and when it answers
-- again.

alter table public.heartbeats
  -- The first and the last failure in a row; null since the store answered.
  add column queue_store_away_since timestamptz,
  add column queue_store_away_at timestamptz,
  add constraint away_since_iff_away_at check ((queue_store_away_since is null) = (queue_store_away_at is null));
