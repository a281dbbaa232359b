-- Cost exports and what is found in them. An export arrives as compressed chunks (workers do not share the
-- operator's disk), becomes deliveries of billing periods, and is read by the analyses. The identity of a
-- cost row is (source, billing period, file hash, line): the same file twice adds nothing, true duplicate
-- lines are kept, and a newer delivery replaces an older one whole. SQLSTATEs: none of its own.

-- One row per file handed in for a tenant. file_hash is the SHA-256 of the decompressed file; of a file that
-- was split by a tenant column, of that hash and the column's name, because each part is not the whole. An export may
-- come in several files. Its parts are one upload, so that they replace an earlier delivery together.
create table public.ingest_uploads (
  id bigint generated always as identity primary key,
  tenant_id text not null references public.tenants (id) on delete cascade,
  source text check (length(source) between 1 and 200 and source !~ '[[:cntrl:]]'),
  file_name text not null check (length(file_name) between 1 and 255),
  file_hash text not null check (file_hash ~ '^[0-9a-f]{64}$'),
  -- A mapping of columns in src/costs/exports, by which the chunks are read.
  format text not null default 'focus' check (format in ('focus', 'aws-cur', 'aws-cur-2')),
  has_line_column boolean not null default false,
  state text not null default 'uploading'
    check (state in ('uploading', 'ready', 'ingested', 'failed', 'superseded')),
  failure text,
  byte_count bigint not null default 0,
  stored_byte_count bigint not null default 0,
  chunk_count integer not null default 0,
  row_count bigint not null default 0,
  error_count bigint not null default 0,
  -- Which lines of the upload are whose.
  parts jsonb not null default '[]' check (jsonb_typeof(parts) = 'array'),
  -- The operator says that the upload is a whole export, whatever the rows are that it replaces.
  complete boolean not null default false,
  -- Of an export of many tenants, written when it is ready: the bills {source, billingPeriod, rows} that it decides for
  -- this tenant. Without rows: an earlier one had some, which are removed.
  bills jsonb check (jsonb_typeof(bills) = 'array'),
  result jsonb,
  created_at timestamptz not null default now(),
  finished_at timestamptz,
  constraint finished_iff_ended check
    ((state in ('ingested', 'failed', 'superseded')) = (finished_at is not null)),
  constraint failed_iff_reason check ((state = 'failed') = (failure is not null)),
  unique (tenant_id, id)
);
create index ix_ingest_uploads_tenant_id_file_hash on public.ingest_uploads (tenant_id, file_hash);
create index ix_ingest_uploads_waiting on public.ingest_uploads (tenant_id, created_at)
  where state in ('uploading', 'ready');
create index ix_ingest_uploads_uploading on public.ingest_uploads (created_at) where state = 'uploading';

-- Exports of many tenants become ready one after another, under a lock of this row, so that each knows which bills the
-- others decide.
create table purser.split_gate (
  only_row boolean primary key default true check (only_row)
);
insert into purser.split_gate default values;

-- A tenant does not choose when its upload was made, what state it is in or which bills it decides: the system reads
-- these.
create function purser.guard_upload() returns trigger
language plpgsql set search_path = pg_catalog, public, purser, pg_temp as $$
begin
  if not purser.acts_for_tenant() then
    return new;
  end if;
  if tg_op = 'INSERT' then
    new.created_at := now();
    new.state := 'uploading';
    new.bills := null;
  else
    new.created_at := old.created_at;
    new.bills := old.bills;
    if new.state <> old.state and (old.state, new.state) not in
        (('ready', 'ingested'), ('ready', 'failed'), ('ready', 'superseded')) then
      raise exception 'illegal_transition: a tenant may not set an upload from % to %', old.state, new.state
        using errcode = 'PU006';
    end if;
  end if;
  return new;
end
$$;
create trigger guard_upload before insert or update on public.ingest_uploads
  for each row execute function purser.guard_upload();

-- The tenant is part of every foreign key below, so that no row can hang on another tenant's parent, and of every key
-- that a tenant can choose, so that a conflict does not tell whether another tenant's row is there.
-- Each chunk is one gzip member by itself; cutting may fall inside a line or a character.
create table public.ingest_chunks (
  upload_id bigint not null,
  seq integer not null check (seq >= 0),
  tenant_id text not null references public.tenants (id) on delete cascade,
  bytes bytea not null,
  primary key (upload_id, seq, tenant_id),
  foreign key (tenant_id, upload_id) references public.ingest_uploads (tenant_id, id) on delete cascade
);
alter table public.ingest_chunks alter column bytes set storage external;
create index ix_ingest_chunks_tenant_id_upload_id on public.ingest_chunks (tenant_id, upload_id);

-- Why a row was not taken: at most the first 1,000 rows of an upload; ingest_uploads.error_count is exact.
create table public.ingest_errors (
  upload_id bigint not null,
  line bigint not null,
  tenant_id text not null references public.tenants (id) on delete cascade,
  column_name text,
  reason text not null,
  primary key (upload_id, line, tenant_id),
  foreign key (tenant_id, upload_id) references public.ingest_uploads (tenant_id, id) on delete cascade
);
create index ix_ingest_errors_tenant_id_upload_id on public.ingest_errors (tenant_id, upload_id);

-- What a source is compared by: providers spell their names and account ids in several ways, and one bill under two
-- spellings would be counted twice. src/costs/exports/source-key.ts has the names of AWS too.
create function purser.source_key(p_source text) returns text
language sql immutable strict parallel safe set search_path = pg_catalog, pg_temp as $$
  with folded as (
    select lower(btrim(regexp_replace(normalize(p_source, nfc), '\s+', ' ', 'g'))) as source
  ), named as (
    select source, btrim(substr(source, 1, strpos(source, '/') - 1)) as provider,
           btrim(substr(source, strpos(source, '/') + 1)) as account
    from folded where strpos(source, '/') > 0
  ), known as (
    select provider, account, case
      when provider ~ '^(aws|amazon|amazon aws|amazon\.com|amazon web services(,? inc\.?| \(aws\))?)$' then 'aws'
      when provider ~ '^(microsoft|azure|ms azure|microsoft azure|microsoft corporation)$' then 'microsoft'
      when provider ~ '^(google|gcp|google cloud|google cloud platform( \(gcp\))?)$' then 'google'
      when provider ~ '^(oracle|oci|oracle cloud|oracle cloud infrastructure( \(oci\))?)$' then 'oracle'
    end as name
    from named
  ), accounts as (
    select coalesce(name, provider) as provider,
           case when name = 'aws' then translate(account, '- ', '') else account end as account, name
    from known
  )
  select coalesce(
    (select provider || '/' || case when name = 'aws' and account ~ '^[0-9]{1,11}$' then lpad(account, 12, '0')
                                    else account end from accounts),
    (select source from folded))
$$;

-- The one delivery that stands for a source and billing period. Newer means a higher upload id.
create table public.cost_deliveries (
  id bigint generated always as identity primary key,
  tenant_id text not null references public.tenants (id) on delete cascade,
  source text not null,
  billing_period date not null,
  file_hash text not null check (file_hash ~ '^[0-9a-f]{64}$'),
  upload_id bigint not null,
  row_count bigint not null check (row_count >= 0),
  delivered_at timestamptz not null default now(),
  unique (tenant_id, id),
  foreign key (tenant_id, upload_id) references public.ingest_uploads (tenant_id, id)
);
create unique index ux_cost_deliveries_bill
  on public.cost_deliveries (tenant_id, purser.source_key(source), billing_period);
create index ix_cost_deliveries_tenant_id_upload_id on public.cost_deliveries (tenant_id, upload_id);

-- Columns follow FOCUS 1.0 to 1.2. Costs are unconstrained NUMERIC: real files have 11 decimals and more.
create table public.cost_records (
  delivery_id bigint not null,
  line bigint not null check (line > 0),
  tenant_id text not null references public.tenants (id) on delete cascade,
  provider_name text not null,
  publisher_name text,
  billing_account_id text not null,
  sub_account_id text,
  sub_account_name text,
  service_name text not null,
  service_category text,
  region_id text,
  region_name text,
  resource_id text,
  resource_name text,
  resource_type text,
  charge_category text not null,
  charge_class text,
  charge_description text,
  charge_frequency text,
  charge_period_start timestamptz not null,
  charge_period_end timestamptz not null,
  billing_currency text not null check (billing_currency ~ '^[A-Z]{3}$'),
  billed_cost numeric not null,
  effective_cost numeric,
  list_cost numeric,
  contracted_cost numeric,
  consumed_quantity numeric,
  consumed_unit text,
  pricing_category text,
  commitment_discount_id text,
  commitment_discount_status text,
  sku_id text,
  tags jsonb not null default '{}',
  primary key (delivery_id, line, tenant_id),
  check (charge_period_end >= charge_period_start),
  foreign key (tenant_id, delivery_id) references public.cost_deliveries (tenant_id, id) on delete cascade
);
create index ix_cost_records_tenant_id_charge_period_start
  on public.cost_records (tenant_id, charge_period_start);

-- One row per finished finops_analysis. A run repeated after a lost answer finds its own row by job_id.
create table public.analyses (
  id bigint generated always as identity primary key,
  tenant_id text not null references public.tenants (id) on delete cascade,
  job_id bigint not null,
  created_at timestamptz not null default now(),
  analyst jsonb not null,
  period_start date not null,
  period_end date not null check (period_end >= period_start),
  currency text not null check (currency ~ '^[A-Z]{3}$'),
  total_cost numeric not null,
  headline text not null,
  summary text not null,
  anomalies jsonb not null default '[]',
  recommendations jsonb not null default '[]',
  estimated_monthly_savings_usd numeric not null default 0 check (estimated_monthly_savings_usd >= 0),
  cost_usd numeric(18, 9) not null default 0 check (cost_usd >= 0),
  -- Of its tenant: another one's rows must not stand in the way.
  unique (tenant_id, job_id)
);
create index ix_analyses_tenant_id_created_at on public.analyses (tenant_id, created_at desc);

select purser.protect_table('public.ingest_uploads', 'select, insert, update');
select purser.protect_table('purser.split_gate', '', 'only_row');
select purser.protect_table('public.ingest_chunks', 'select, insert, delete');
select purser.protect_table('public.ingest_errors', 'select, insert, delete');
select purser.protect_table('public.cost_deliveries', 'select, insert, update');
select purser.protect_table('public.cost_records', 'select, insert, delete');
select purser.protect_table('public.analyses', 'select, insert');
select purser.allow_tenant('purser.guard_upload()');
select purser.allow_tenant('purser.source_key(text)');
