-- Circuit breakers of LLM calls: one per credential, which opens by answers about the key (401, 402, 403, 429), and one
-- per provider and model, which opens by failures of the provider. Workers count in memory and write changes of state
-- only; they read this table at most once a second. While a breaker is open nothing is sent through it; when its pause
-- has ended, one call goes through as a probe, by a lease that one compare-and-set takes, and its answer closes the
-- breaker or opens it for longer.

create table public.llm_breakers (
  kind text not null check (kind in ('credential', 'model')),
  -- provider/model; provider/credential; provider/credential/tenant for a credential of the tenant's own.
  key text not null check (length(key) between 1 and 2000),
  -- Whose own credential it is; null: all tenants share it.
  tenant_id text references public.tenants (id) on delete cascade,
  state text not null check (state in ('closed', 'open', 'probing')),
  -- When it opened and was closed before.
  opened_at timestamptz not null,
  -- Times that it opened without being closed for five minutes; each makes the pause longer.
  opens integer not null check (opens > 0),
  -- End of the pause while open, of the lease while probing.
  until timestamptz,
  probe uuid,
  last_error text not null,
  -- A worker, or the operator who closed it.
  changed_by text not null check (length(changed_by) between 1 and 500),
  changed_at timestamptz not null,
  -- When a parked job was woken to be the probe; null since the last change.
  woken_at timestamptz,
  primary key (kind, key),
  constraint only_closed_has_no_end check ((state = 'closed') = (until is null)),
  constraint only_a_lease_has_a_probe check ((state = 'probing') = (probe is not null))
);
create index ix_llm_breakers_tenant_id on public.llm_breakers (tenant_id) where tenant_id is not null;
select purser.protect_table('public.llm_breakers', '');

-- The breakers (kind:key) that kept the call, one of each of its forms; its job waits until one of them is closed.
alter table public.llm_refusals add column breakers text[];

-- 10 s, doubled with each further opening, at most 10 minutes; 20 % more or less, so that breakers that opened together
-- are not probed together.
create function purser.breaker_pause(p_opens integer) returns interval language plpgsql volatile as $$
begin
  return least(10 * 2 ^ least(p_opens - 1, 10), 600) * (0.8 + 0.4 * random()) * interval '1 second';
end
$$;

-- How many tenants called the provider's model, or through the credential, in the last hour; counted up to three.
create function purser.breaker_callers(p_kind text, p_provider text, p_name text, p_now timestamptz) returns integer
language plpgsql stable as $$
begin
  return (select count(*) from (
    select from (
      select distinct m.tenant_id from public.llm_budget_periods m
      where m.period_start >= date_trunc('month', (p_now - interval '1 hour') at time zone 'UTC')::date
        and m.call_slot >= floor(extract(epoch from p_now - interval '1 hour') / 6)) t
    where exists (
      select from public.llm_reservations r
      where r.tenant_id = t.tenant_id and r.created_at > p_now - interval '1 hour' and r.provider = p_provider
        and case p_kind when 'model' then r.model else r.provider_key end = p_name)
    limit 3) c);
end
$$;

-- Changes of state, each of which is made only where the breaker is still as its worker saw it. With a probe: result is
-- ok, failed, or none (the probe showed nothing, and the next call may be one). Without: the breaker opens, unless it is
-- open; tenants are those whose calls failed, null where one is enough. Fewer than three open it only where no other
-- tenant called. Returns the changes that were made.
create function purser.change_breakers(p_changes jsonb, p_by text, p_now timestamptz)
returns table (breaker_kind text, breaker_key text, state_before text, state_now text, ends_at timestamptz)
language plpgsql volatile as $$
declare
  v_now timestamptz := coalesce(p_now, clock_timestamp());
  v_change record;
  v_before public.llm_breakers;
begin
  for v_change in
    select * from jsonb_to_recordset(p_changes) c (kind text, key text, provider text, name text, tenant_id text,
      tenants integer, error text, retry_after_ms bigint, probe uuid, result text)
    -- In one order for all workers.
    order by c.kind, c.key, c.probe nulls last
  loop
    select b.* into v_before from public.llm_breakers b
    where b.kind = v_change.kind and b.key = v_change.key for no key update;
    breaker_kind := v_change.kind;
    breaker_key := v_change.key;
    state_before := coalesce(v_before.state, 'closed');
    if v_change.probe is not null then
      continue when v_before.probe is distinct from v_change.probe;
      state_now := case v_change.result when 'ok' then 'closed' else 'open' end;
      ends_at := case v_change.result when 'none' then v_now when 'failed' then v_now + greatest(
        purser.breaker_pause(v_before.opens + 1),
        least(coalesce(v_change.retry_after_ms, 0), 600000) * interval '1 millisecond') end;
      update public.llm_breakers b set state = state_now, until = ends_at, probe = null, woken_at = null,
        opens = b.opens + (v_change.result = 'failed')::integer,
        last_error = case v_change.result when 'failed' then v_change.error else b.last_error end,
        changed_by = p_by, changed_at = v_now
      where b.kind = v_change.kind and b.key = v_change.key;
    else
      continue when state_before <> 'closed';
      continue when v_change.tenants < 3
        and v_change.tenants < purser.breaker_callers(v_change.kind, v_change.provider, v_change.name, v_now);
      continue when v_change.tenant_id is not null
        and not exists (select from public.tenants t where t.id = v_change.tenant_id);
      v_before.opens := case when v_before.changed_at > v_now - interval '5 minutes' then v_before.opens else 0 end + 1;
      state_now := 'open';
      ends_at := v_now + greatest(purser.breaker_pause(v_before.opens),
        least(coalesce(v_change.retry_after_ms, 0), 600000) * interval '1 millisecond');
      insert into public.llm_breakers as b (kind, key, tenant_id, state, opened_at, opens, until, last_error, changed_by,
        changed_at)
      values (v_change.kind, v_change.key, v_change.tenant_id, 'open', v_now, v_before.opens, ends_at, v_change.error,
        p_by, v_now)
      on conflict (kind, key) do update
        set state = 'open', opened_at = v_now, opens = excluded.opens, until = excluded.until,
          last_error = excluded.last_error, changed_by = excluded.changed_by, changed_at = v_now, woken_at = null
        -- Another worker may have come between the two statements.
        where b.state = 'closed';
      continue when not found;
    end if;
    return next;
  end loop;
end
$$;

-- Takes the lease of a probe through all of these breakers (kind:key), or none: the pause of each has ended, or the lease
-- of its last probe has expired. One that was closed meanwhile needs none.
create function purser.take_probe(p_names text[], p_probe uuid, p_lease interval, p_by text, p_now timestamptz)
returns boolean language plpgsql volatile as $$
declare
  v_now timestamptz := coalesce(p_now, clock_timestamp());
  v_names text[];
begin
  -- A row that another call has locked is taken by that one.
  select array_agg(d.name) into v_names from (
    select b.kind || ':' || b.key as name from public.llm_breakers b
    where b.kind || ':' || b.key = any (p_names) and (b.state = 'closed' or b.until <= v_now)
    order by b.kind, b.key for no key update skip locked) d;
  if v_names is null or cardinality(v_names) < cardinality(p_names) then
    return false;
  end if;
  update public.llm_breakers b
  set state = 'probing', probe = p_probe, until = v_now + p_lease, changed_by = p_by, changed_at = v_now, woken_at = null
  where b.kind || ':' || b.key = any (p_names) and b.state <> 'closed';
  return true;
end
$$;

-- Records that breakers kept a call of a running attempt.
create function purser.refuse_call(p_tenant_id text, p_job_id bigint, p_token uuid, p_provider text, p_provider_key text,
  p_model text, p_breakers text[], p_needed_usd numeric)
returns void language plpgsql volatile as $$
begin
  -- Lost in a crash of Postgres, its job wakes, and parks again.
  perform set_config('synchronous_commit', 'off', true);
  insert into public.llm_refusals (tenant_id, job_id, job_type, provider, model, breakers, period_start, needed_usd,
    provider_key, counts_apart)
  select f.tenant_id, f.job_id, f.job_type, p_provider, p_model, p_breakers,
    date_trunc('month', now() at time zone 'UTC')::date, p_needed_usd, p_provider_key,
    coalesce((select not k.counts_against_budget from public.llm_provider_keys k
      where k.tenant_id = f.tenant_id and 'own:' || k.provider = p_provider_key), false)
  from purser.in_flight f where f.job_id = p_job_id and f.token = p_token and f.tenant_id = p_tenant_id;
end
$$;
