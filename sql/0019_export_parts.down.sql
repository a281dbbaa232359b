alter table public.ingest_uploads drop column parts, drop column complete;
-- Uploads of this format were ingested with it, or their workers are gone; the older version cannot name it.
update public.ingest_uploads set format = 'focus' where format = 'aws-cur-2';
alter table public.ingest_uploads drop constraint ingest_uploads_format_check;
alter table public.ingest_uploads add constraint ingest_uploads_format_check
  check (format in ('focus', 'aws-cur'));
