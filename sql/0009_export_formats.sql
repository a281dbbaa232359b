-- Exports come in more formats than FOCUS. A format is a mapping of columns in src/handlers/exports; the row of
-- an upload says which one its chunks are to be read by.
alter table public.ingest_uploads drop constraint ingest_uploads_format_check;
alter table public.ingest_uploads add constraint ingest_uploads_format_check
  check (format in ('focus', 'aws-cur'));
