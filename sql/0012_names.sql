-- One rule for each name that users choose, for callers of every language; src/names.ts has the same in the same words.
-- A row keeps the name that it has: only a name that was really written is checked. A constraint would refuse any change
-- of a row with an old name, and a trigger before the insert also one that ends as "on conflict do nothing".
-- SQLSTATE: PU011 invalid_name.

-- The name in quotes, its first characters only, with an escape for each that cannot be seen.
create function purser.quoted_name(p_name text) returns text language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp as $$
  select string_agg(case when c ~ (
    '[\u0001-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e'
    '\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a'
    '\U000e0000-\U000e0fff\u00a0\u1680\u2000-\u200a\u202f\u205f\ufffd]')
    then '\u{' || to_hex(ascii(c)) || '}' else c end, '' order by n)
  from string_to_table(to_json(left(p_name, 60))::text, null) with ordinality as t (c, n)
$$;

-- What is wrong with a name, as a sentence that quotes it and says what is allowed; null where nothing is.
create function purser.name_fault(p_kind text, p_name text) returns text language sql immutable parallel safe
set search_path = pg_catalog, purser, pg_temp as $$
  select case
    when r.pattern is not null then case when p_name !~ r.pattern
      then format('the %s %s is not allowed: use %s', r.what, purser.quoted_name(p_name), r.allowed) end
    when f.fault is not null
      then format('the %s %s %s: %s %s has 1 to %s visible characters in Unicode form NFC, and no blank at its ends',
        r.what, purser.quoted_name(p_name), f.fault, case when r.what ~ '^[aeiou]' then 'an' else 'a' end, r.what,
        r.max_length)
    when p_kind = 'tenant' and (p_name ~ '^[0-9](?:[.,][0-9]+)?[eE]\+[0-9]+$' or p_name ~ '^[0-9]{6,}[.,]0+$'
        or p_name ~ '^#(?:#+|N/A|NAME\?|NULL!|NUM!|REF!|VALUE!|DIV/0!)$')
      then format('the %s %s is an id that a spreadsheet has changed; use the file as it was downloaded, or format '
        'the column as text before it is opened', r.what, purser.quoted_name(p_name))
  end
  from (values
    ('tenant', 'tenant id', 200, null, null),
    ('job_type', 'job type', 63, '^[a-z][a-z0-9_]{0,62}$',
      'lower-case letters, digits and _, at most 63 and a letter first, e.g. send_report'),
    ('cohort', 'cohort', 63, '^(high_value|active|dormant)$', 'high_value, active or dormant'),
    ('plan', 'plan', 200, null, null),
    ('operator', 'operator name', 500, null, null),
    ('account_id', 'account id', 200, null, null),
    ('account_name', 'account name', 200, null, null),
    ('integration', 'integration name', 200, null, null),
    ('source', 'source', 200, null, null),
    ('model', 'model name', 200, null, null),
    ('group', 'group', 200, null, null)
  ) r (kind, what, max_length, pattern, allowed)
  cross join lateral (select case
    when p_name = '' then 'is empty'
    when length(p_name) > r.max_length then format('is longer than %s characters', r.max_length)
    when p_name ~ '\ufffd' then 'has U+FFFD, which stands for bytes that were not UTF-8'
    when p_name ~ '[\u0001-\u001f\u007f-\u009f]' then 'has a control character'
    when p_name ~ ('[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f'
      '\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a'
      '\U000e0000-\U000e0fff]') then 'has an invisible character'
    when p_name ~ '[\u00a0\u1680\u2000-\u200a\u202f\u205f]' then 'has a blank that is not the ordinary space'
    when p_name ~ '^[ \u3000]|[ \u3000]$' then 'has a blank at an end'
    when p_name is not nfc normalized then 'is not in Unicode form NFC'
  end as fault) f
  where r.kind = p_kind
$$;

-- What is wrong with the group that a job names: a limit for all groups of a kind is named kind:*.
create function purser.group_fault(p_group text) returns text language sql immutable parallel safe
set search_path = pg_catalog, purser, pg_temp as $$
  select coalesce(purser.name_fault('group', p_group), case when p_group like '%:*'
    then format('the group %s is not allowed: a limit for all groups of a kind is named so; name one group, '
      'e.g. user:42', purser.quoted_name(p_group)) end)
$$;

-- Arguments: column, kind, column, kind ... A definer, so that tenants need no right on what it calls.
create function purser.check_names() returns trigger language plpgsql security definer
set search_path = pg_catalog, public, purser, pg_temp as $$
declare
  v_new jsonb := to_jsonb(new);
  v_old jsonb := case when tg_op = 'UPDATE' then to_jsonb(old) end;
  v_fault text;
begin
  for i in 0 .. tg_nargs - 1 by 2 loop
    continue when v_old->>tg_argv[i] = v_new->>tg_argv[i];
    v_fault := purser.name_fault(tg_argv[i + 1], v_new->>tg_argv[i]);
    if v_fault is not null then
      raise exception 'invalid_name: %', v_fault using errcode = 'PU011';
    end if;
  end loop;
  return null;
end
$$;

-- They would refuse the same in the name of a constraint only.
alter table public.tenants drop constraint tenants_id_check, drop constraint id_is_visible;
alter table public.job_types drop constraint job_types_job_type_check;
alter table public.schedules drop constraint schedules_cohort_check;
alter table public.ingest_uploads drop constraint ingest_uploads_source_check;
alter table public.llm_prices drop constraint llm_prices_model_check;

create trigger check_names after insert or update of id on public.tenants
  for each row execute function purser.check_names('id', 'tenant');
create trigger check_names after insert or update of plan on public.plans
  for each row execute function purser.check_names('plan', 'plan');
create trigger check_names after insert or update of job_type on public.job_types
  for each row execute function purser.check_names('job_type', 'job_type');
create trigger check_names after insert or update of cohort, paused_by on public.schedules
  for each row execute function purser.check_names('cohort', 'cohort', 'paused_by', 'operator');
create trigger check_names after insert or update of paused_by on public.tenant_schedules
  for each row execute function purser.check_names('paused_by', 'operator');
create trigger check_names after insert or update of by on public.pauses
  for each row execute function purser.check_names('by', 'operator');
create trigger check_names after insert or update of by on public.job_limits
  for each row execute function purser.check_names('by', 'operator');
create trigger check_names after insert or update of account_id, name on public.aws_accounts
  for each row execute function purser.check_names('account_id', 'account_id', 'name', 'account_name');
create trigger check_names after insert or update of kind, name on public.api_integrations
  for each row execute function purser.check_names('kind', 'integration', 'name', 'integration');
create trigger check_names after insert or update of source on public.ingest_uploads
  for each row execute function purser.check_names('source', 'source');
create trigger check_names after insert or update of model on public.llm_prices
  for each row execute function purser.check_names('model', 'model');
