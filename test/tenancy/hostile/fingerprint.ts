/** A hash of everything in the database that a hostile handler must not be able to change. */
import type { Sql } from '../../../src/db/connect.ts';

/** Rows of all other tenants, the plan and budget of `mine`, and every object that enforces tenancy. */
export async function fingerprint(
  system: Sql,
  { mine }: { readonly mine: string },
): Promise<string> {
  const [row] = await system<{ hash: string }[]>`
    with facts (fact) as (
      select t::text from aws_accounts t where tenant_id <> ${mine}
      union all select t::text from ingest_uploads t where tenant_id <> ${mine}
      union all select (tenant_id, upload_id, seq)::text from ingest_chunks where tenant_id <> ${mine}
      union all select t::text from tenants t
      union all select t::text from llm_budgets t
      union all select (id, tenant_id, state)::text from background_jobs where tenant_id <> ${mine}
      union all select t::text from purser.operator_tokens t where tenant_id <> ${mine}
      union all select (job_id, tenant_id, token)::text from purser.in_flight where tenant_id <> ${mine}
      union all select t::text from purser.protected_tables t
      union all select t::text from purser.tenant_functions t
      union all select t::text from purser.tenancy t
      union all select (polrelid::regclass, polname, polroles::regrole[],
        pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid))::text from pg_policy
      union all select (c.oid::regclass, c.relowner::regrole, c.relacl, c.relrowsecurity, c.relforcerowsecurity)::text
        from pg_class c where c.relnamespace::regnamespace::text in ('public', 'purser')
      union all select (a.attrelid::regclass, a.attname, a.attacl)::text
        from pg_attribute a where a.attacl is not null
      union all select (p.oid::regprocedure, md5(p.prosrc), p.proacl, p.proconfig)::text
        from pg_proc p where p.pronamespace::regnamespace::text in ('public', 'purser')
      union all select (tgrelid::regclass, tgname, tgenabled)::text from pg_trigger where not tgisinternal
      union all select (ev_class::regclass, rulename)::text from pg_rewrite
      union all select (nspname, nspacl)::text from pg_namespace where nspname !~ '^pg_'
      union all select (datname, datacl)::text from pg_database where datname = current_database()
      union all select (defaclrole::regrole, defaclacl)::text from pg_default_acl
      union all select (d.setconfig, r.rolname)::text from pg_db_role_setting d
        left join pg_roles r on r.oid = d.setrole
        where d.setdatabase = (select oid from pg_database where datname = current_database())
          and (r.rolcanlogin or r.oid is null)
      union all select (roleid::regrole, member::regrole, admin_option)::text from pg_auth_members
        where roleid::regrole::text ~ '^purser' or member::regrole::text ~ '^purser'
      union all select (extname, extversion)::text from pg_extension
      union all select pubname::text from pg_publication
    )
    select md5(string_agg(fact, e'\n' order by fact)) as hash from facts`;
  return row?.hash ?? '';
}
