/** The login of TENANT_DATABASE_URL (level L3): what makes it unfit, and the check of its rights. */
import { exitCodes, PurserError } from '../errors.ts';
import type { Sql } from './connect.ts';

export function refuseTenantLogin(fault: string, cause?: unknown): never {
  throw new PurserError('tenant_login_unfit', `TENANT_DATABASE_URL: ${fault}`, {
    exitCode: exitCodes.configuration,
    cause,
  });
}

/** Throws `tenant_login_unfit` (exit 78) unless the login is a tenant of this database and has no further rights. */
export async function assertTenantLogin(tenant: Sql, identity: string): Promise<void> {
  const [login] = await tenant<
    { identity: string; tenant: boolean; system: boolean; powers: string[] }[]
  >`
    select (current_database(), pg_postmaster_start_time())::text as identity,
           pg_has_role(current_user, 'purser_tenant', 'usage') as tenant,
           pg_has_role(current_user, 'purser_system', 'member') as system,
           array(
             select p.power from pg_roles r cross join lateral (values
               ('BYPASSRLS', r.rolbypassrls), ('CREATEROLE', r.rolcreaterole), ('REPLICATION', r.rolreplication),
               ('CREATE on the database', has_database_privilege(current_database(), 'create')),
               ('CREATE on schema public', has_schema_privilege(to_regnamespace('public'), 'create')),
               ('CREATE on schema purser', has_schema_privilege(to_regnamespace('purser'), 'create'))
             ) as p (power, held) where r.rolname = current_user and p.held
             union all
             select rolname::text from pg_roles
             where rolname ~ '^pg_' and pg_has_role(current_user, oid, 'member')
           ) as powers`;
  if (login === undefined || login.identity !== identity)
    refuseTenantLogin('names a different database than DATABASE_URL');
  else if (login.system)
    refuseTenantLogin('its login is a member of purser_system; create a separate login');
  else if (!login.tenant) {
    refuseTenantLogin('its login is not a member of purser_tenant; run: purser migrate up');
  } else if (login.powers.length > 0) {
    refuseTenantLogin(
      `its login has more rights than a tenant may have; revoke: ${login.powers.join(', ')}`,
    );
  }
}
