-- Two tenants whose ids differ only in case, blanks, invisible characters or Unicode form ("Acme", "acme ") are one
-- tenant to the people who type and read them. The second one is refused, whoever adds it.

-- The form in which ids are compared. The collation is one that knows the case of every letter, where the server has
-- one; the letters of ASCII are known to all.
do $$
declare
  v_collation text := coalesce(
    (select quote_ident(collname) from pg_catalog.pg_collation
     where collnamespace = 'pg_catalog'::regnamespace and collname in ('pg_c_utf8', 'und-x-icu')
     order by collname limit 1),
    '"default"');
begin
  execute format($f$
    create function purser.tenant_form(p_id text) returns text language sql immutable strict parallel safe
    return lower(normalize(translate(normalize(p_id, nfkc),
      U&' \00AD\034F\115F\1160\1680\180E\200B\200C\200D\200E\200F\2028\2029\202A\202B\202C\202D\202E\2060\2061\2062\2063\2064\2066\2067\2068\2069\206A\206B\206C\206D\206E\206F\FE00\FE01\FE02\FE03\FE04\FE05\FE06\FE07\FE08\FE09\FE0A\FE0B\FE0C\FE0D\FE0E\FE0F\FEFF',
      ''), nfkc) collate pg_catalog.%s)
  $f$, v_collation);
end $$;

-- A unique index would name the form that two tenants share, and neither of them.
do $$
declare
  v_ids text;
begin
  select string_agg(quote_literal(id), ', ' order by id) into v_ids from public.tenants
  group by purser.tenant_form(id) having count(*) > 1 limit 1;
  if v_ids is not null then
    raise exception 'the tenants % differ only in case, blanks or Unicode form', v_ids
      using hint = 'rename or delete all but one of them, then run purser migrate up again';
  end if;
end $$;

create unique index ux_tenants_form on public.tenants (purser.tenant_form(id));
alter table public.tenants add constraint id_is_visible check (purser.tenant_form(id) <> '');
