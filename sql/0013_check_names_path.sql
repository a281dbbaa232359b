-- purser.check_names() with the search_path that every definer has: doctor reports any other as unprotected.
alter function purser.check_names() set search_path = pg_catalog, public, purser, pg_temp;
