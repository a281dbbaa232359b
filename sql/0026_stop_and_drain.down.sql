alter table public.heartbeats drop column drain_state, drop column drain_requested;
drop function purser.discard_waiting(text, text, bigint, bigint, bigint[], integer, text, text);
drop function purser.return_stopped(integer);
alter table public.pauses drop column stops;
