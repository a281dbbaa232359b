-- Uploads of another format cannot be told to an older version; what was ingested from them stays.
update public.ingest_uploads set format = 'focus' where format <> 'focus';
alter table public.ingest_uploads drop constraint ingest_uploads_format_check;
alter table public.ingest_uploads add constraint ingest_uploads_format_check check (format in ('focus'));
