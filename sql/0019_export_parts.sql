-- An export may come in several files. Its parts are one upload, so that they replace an earlier delivery together;
-- parts says which lines of the upload are whose. complete: the operator says that the upload is a whole export,
-- whatever the rows are that it replaces.
alter table public.ingest_uploads
  add column parts jsonb not null default '[]' check (jsonb_typeof(parts) = 'array'),
  add column complete boolean not null default false;

-- Formats that are mapped besides FOCUS and the legacy CUR: AWS CUR 2.0.
alter table public.ingest_uploads drop constraint ingest_uploads_format_check;
alter table public.ingest_uploads add constraint ingest_uploads_format_check
  check (format in ('focus', 'aws-cur', 'aws-cur-2'));
