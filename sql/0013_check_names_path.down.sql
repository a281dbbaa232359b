alter function purser.check_names() set search_path = pg_catalog, purser, pg_temp;
