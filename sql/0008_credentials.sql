-- Credentials of a tenant's cloud accounts and integrations, always encrypted by src/crypto and bound to
-- their tenant and column; encryption_key_version says which key opens the row.

create table public.aws_accounts (
  id uuid primary key default gen_random_uuid(),
  tenant_id text not null references public.tenants (id) on delete cascade,
  account_id text not null,
  name text,
  credentials text not null,
  encryption_key_version integer not null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  unique (tenant_id, account_id)
);
create index ix_aws_accounts_encryption_key_version on public.aws_accounts (encryption_key_version);
create index ix_aws_accounts_tenant_id_id on public.aws_accounts (tenant_id, id);

create table public.api_integrations (
  id uuid primary key default gen_random_uuid(),
  tenant_id text not null references public.tenants (id) on delete cascade,
  kind text not null,
  name text not null,
  credentials text not null,
  encryption_key_version integer not null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  unique (tenant_id, kind, name)
);
create index ix_api_integrations_encryption_key_version on public.api_integrations (encryption_key_version);
create index ix_api_integrations_tenant_id_id on public.api_integrations (tenant_id, id);

select purser.protect_table('public.aws_accounts', 'select, insert');
select purser.protect_table('public.api_integrations', 'select, insert');
