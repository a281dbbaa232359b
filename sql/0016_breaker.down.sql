drop function purser.refuse_call(text, bigint, uuid, text, text, text, text[], numeric);
drop function purser.take_probe(text[], uuid, interval, text, timestamptz);
drop function purser.change_breakers(jsonb, text, timestamptz);
drop function purser.breaker_callers(text, text, text, timestamptz);
drop function purser.breaker_pause(integer);
alter table public.llm_refusals drop column breakers;
select purser.forget_table('public.llm_breakers');
drop table public.llm_breakers;
