/** Attacks on the objects that enforce tenancy, and objects that others would run. Outcomes: L3, L2, L1. */
import { sqlAttack } from './hostile.ts';

export const definitionAttacks = [
  sqlAttack(
    'ALTER TABLE ... DISABLE ROW LEVEL SECURITY',
    'refused, refused, open',
    () => `alter table aws_accounts disable row level security; select * from aws_accounts`,
  ),
  sqlAttack(
    'CREATE POLICY',
    'refused, refused, open',
    () => `create policy everything on aws_accounts using (true); select * from aws_accounts`,
  ),
  sqlAttack(
    'DROP POLICY',
    'refused, refused, open',
    () => `drop policy tenant_access on aws_accounts`,
  ),
  sqlAttack('DROP OWNED BY the tenant role', 'own rows, own rows, refused', () => {
    return `drop owned by purser_tenant`;
  }),
  sqlAttack('REASSIGN OWNED', 'refused, refused, refused', () => {
    return `reassign owned by purser_system to current_user`;
  }),
  sqlAttack(
    'replacing purser.current_tenant()',
    'refused, refused, open',
    (s) => `create or replace function purser.current_tenant() returns text language sql stable
        as $$ select '${s.theirs}' $$; select * from aws_accounts`,
  ),
  sqlAttack(
    'function in public',
    'refused, refused, open',
    () => `create function public.lower(text) returns text language sql as 'select null::text'`,
  ),
  sqlAttack(
    'table in public',
    'refused, refused, open',
    () => `create table public.planted (a int)`,
  ),
  sqlAttack('schema', 'refused, refused, open', () => `create schema planted`),
  sqlAttack(
    'trigger on a table of the fleet',
    'refused, refused, open',
    () => `create trigger planted before insert on aws_accounts for each row
        execute function purser.refuse_change()`,
  ),
  sqlAttack(
    'rule on a table of the fleet',
    'refused, refused, open',
    () => `create rule planted as on insert to aws_accounts do also notify planted`,
  ),
  sqlAttack(
    'event trigger',
    'refused, refused, refused',
    () => `create event trigger planted on ddl_command_end execute function purser.refuse_change()`,
  ),
  sqlAttack(
    "foreign key to the fleet's tables",
    'refused, refused, open',
    () => `create table if not exists public.probe (id text references tenants (id))`,
  ),
  sqlAttack(
    'foreign key of a temporary table',
    'refused, refused, refused',
    () => `create temp table probe (id text references tenants (id))`,
  ),
  sqlAttack(
    'GRANT on a table',
    'refused, refused, open',
    () => `revoke all on aws_accounts from current_user; grant select on background_jobs to public;
        select 1 / (select count(*)::int from pg_class where oid = 'background_jobs'::regclass
          and relacl::text like '%,=r/%' or relacl::text like '{=r/%')`,
  ),
  sqlAttack(
    'GRANT of a role',
    'refused, refused, refused',
    () => `grant purser_system to current_user`,
  ),
  sqlAttack(
    'CREATE ROLE',
    'refused, refused, refused',
    () => `create role planted login superuser`,
  ),
  sqlAttack(
    'settings of its own login (ALTER ROLE; its password too)',
    'open, own rows, open',
    () => `do $$ begin execute format('alter role current_user in database %I set search_path = nowhere',
        current_database()); end $$`,
  ),
  sqlAttack(
    'default privileges of its own login',
    'open, open, open',
    () => `alter default privileges grant select on tables to public`,
  ),
  sqlAttack(
    'settings of the database',
    'refused, refused, open',
    () => `do $$ begin execute format('alter database %I set row_security = off',
        current_database()); end $$`,
  ),
  sqlAttack('ALTER SYSTEM', 'refused, refused, refused', () => {
    return `do $$ begin execute 'alter system set log_statement = ''all'''; end $$`;
  }),
  sqlAttack(
    'CREATE EXTENSION dblink',
    'refused, refused, refused',
    () => `create extension dblink`,
  ),
  sqlAttack(
    'foreign data wrapper',
    'refused, refused, refused',
    () => `create foreign data wrapper planted`,
  ),
  sqlAttack(
    'publication',
    'refused, refused, open',
    () => `create publication planted for table aws_accounts`,
  ),
];
