drop trigger keep_departed on public.llm_scope_periods;
drop function purser.keep_departed();
drop function purser.sweep_fleet(timestamptz);
drop function purser.remove_fleet_scope(text, text, text, text);
drop function purser.await_reserves(bigint, bigint, integer);
drop function purser.start_fleet_scope(bigint);
drop function purser.fill_fleet_scope(bigint, text, timestamptz);
drop function purser.set_fleet_scope(text, text, text, text, text, numeric, boolean, text);
drop function purser.fleet_wake_room(bigint);
drop function purser.fleet_refusal(bigint, text, timestamptz);
drop function purser.extend_allotments(bigint[], numeric);
drop function purser.grant_allotments(purser.rung_scope[], integer, numeric, timestamptz);
drop function purser.chunk_usd(numeric, numeric, numeric, numeric, interval);
drop function purser.allotment_lease();
drop function purser.lock_fleet(purser.rung_scope[], integer, numeric, timestamptz);
drop function purser.allotments_of(purser.rung_scope[], integer, timestamptz);
drop function purser.fleet_room(bigint, text, timestamptz, numeric);
drop function purser.fleet_scope_counts(public.llm_fleet_scopes, text, text, text, boolean);
create or replace function purser.open_scope_period(p_scope_id bigint, p_value text, p_at timestamptz) returns bigint
language plpgsql volatile as $$
declare
  v_id bigint;
  v_scope public.llm_scopes;
  v_before timestamptz;
  v_after timestamptz;
  v_start timestamptz;
  v_end timestamptz;
begin
  select p.id into v_id from public.llm_scope_periods p
  where p.scope_id = p_scope_id and p.value = p_value and p.starts_at <= p_at and p.ends_at > p_at;
  if found then
    return v_id;
  end if;
  -- One at a time, since periods of one value must not overlap.
  select s.* into v_scope from public.llm_scopes s where s.id = p_scope_id for no key update;
  if not found then
    return null;
  end if;
  select p.id into v_id from public.llm_scope_periods p
  where p.scope_id = p_scope_id and p.value = p_value and p.starts_at <= p_at and p.ends_at > p_at;
  if found then
    return v_id;
  end if;
  select max(p.ends_at) filter (where p.ends_at <= p_at), min(p.starts_at) filter (where p.starts_at > p_at)
  into v_before, v_after
  from public.llm_scope_periods p where p.scope_id = p_scope_id and p.value = p_value;
  select l.starts_at, l.ends_at into v_start, v_end
  from purser.local_period(v_scope.period, v_scope.time_zone, p_at) l;
  if v_before > v_start then
    if v_end - v_before < (v_end - v_start) / 2 then
      select l.ends_at into v_end from purser.local_period(v_scope.period, v_scope.time_zone, v_end) l;
    end if;
    v_start := v_before;
  end if;
  insert into public.llm_scope_periods (scope_id, tenant_id, value, starts_at, ends_at)
  values (p_scope_id, v_scope.tenant_id, p_value, v_start, least(v_end, v_after))
  returning id into v_id;
  return v_id;
end
$$;
drop function purser.open_allotment(bigint, text, timestamptz);
drop function purser.open_fleet_periods(timestamptz);
drop view public.llm_fleet_status;
drop function purser.fleet_scope_title(text, text, text);
-- The down file of 0020_reserve has put back the one of 0014_scopes beside this one.
-- The ids of scopes of the fleet begin anew with the next migration.
update public.llm_refusals set scope_id = null, value = null where scope_id < 0;

delete from public.llm_alerts where fleet_period_id is not null;
alter table public.llm_alerts
  drop constraint has_a_tenant_or_is_of_the_fleet,
  drop constraint once_per_share,
  drop column fleet_period_id,
  alter column tenant_id set not null,
  add constraint llm_alerts_kind_budget_id_period_start_scope_period_id_rese_key
    unique nulls not distinct (kind, budget_id, period_start, scope_period_id, reservation_id, percent, limit_version);
delete from public.llm_pins n using public.llm_scope_periods a
where a.id = n.scope_period_id and a.fleet_period_id is not null;
delete from public.llm_scope_periods where fleet_period_id is not null;
alter table public.llm_scope_periods
  drop constraint of_a_scope_or_an_allotment,
  drop constraint used_is_granted,
  drop column fleet_period_id,
  drop column granted_usd,
  drop column last_grant_usd,
  drop column leased_until,
  alter column scope_id set not null;
select purser.forget_table('public.llm_fleet_periods');
select purser.forget_table('public.llm_fleet_scopes');
drop table public.llm_fleet_periods;
drop table public.llm_fleet_scopes;
