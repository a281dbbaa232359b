-- Who may use the web role: operators with a role and a password, the sessions of their browsers, and tokens for programs.
-- Of passwords and tokens only hashes are stored, and no tenant can read them.

create table public.operators (
  name text primary key,
  -- Each role may do what the ones before it may: viewer, operator, admin.
  role text not null check (role in ('viewer', 'operator', 'admin')),
  -- scrypt, with its parameters and its salt: src/operations/operators/passwords.ts.
  password_hash text not null check (password_hash like 'scrypt$%'),
  created_at timestamptz not null default clock_timestamp(),
  changed_at timestamptz not null default clock_timestamp()
);
create trigger check_names after insert or update of name on public.operators
  for each row execute function purser.check_names('name', 'operator');

create table public.operator_sessions (
  id uuid primary key default gen_random_uuid(),
  -- SHA-256 of the cookie's token; of the login of the environment an HMAC with its password, so that a session does not
  -- outlive the password.
  token_hash bytea not null unique check (octet_length(token_hash) = 32),
  operator text not null,
  of_environment boolean not null,
  -- A session goes with its operator. The operator of the environment has no row.
  named_operator text generated always as (case when not of_environment then operator end) stored
    references public.operators (name) on delete cascade,
  address text not null check (length(address) <= 100),
  browser text not null check (length(browser) <= 200),
  started_at timestamptz not null default clock_timestamp(),
  -- Written once a minute at most.
  seen_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz not null
);
create index ix_operator_sessions_operator on public.operator_sessions (operator);
create index ix_operator_sessions_named_operator on public.operator_sessions (named_operator);
create index ix_operator_sessions_expires_at on public.operator_sessions (expires_at);

create table public.api_tokens (
  name text primary key,
  token_hash bytea not null unique check (octet_length(token_hash) = 32),
  role text not null check (role in ('viewer', 'operator', 'admin')),
  -- What it is limited to; empty: everything.
  tenants text[] not null default '{}',
  job_types text[] not null default '{}',
  created_at timestamptz not null default clock_timestamp(),
  last_used_at timestamptz,
  expires_at timestamptz not null check (expires_at <= created_at + interval '366 days')
);
create trigger check_names after insert or update of name on public.api_tokens
  for each row execute function purser.check_names('name', 'operator');

select purser.protect_table('public.operators', '');
select purser.protect_table('public.operator_sessions', '');
select purser.protect_table('public.api_tokens', '');
