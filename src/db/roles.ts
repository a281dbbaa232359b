/**
 * The two group roles of tenancy. Roles belong to the cluster, not to a database, so creating them tolerates a
 * concurrent migration of another database. A login that cannot have the roles gets level L1.
 */
import postgres from 'postgres';
import { exitCodes, PurserError } from '../errors.ts';
import type { Sql } from './connect.ts';

const roles = ['purser_system', 'purser_tenant'] as const;
const insufficientPrivilege = '42501';
const tolerated = new Set(['42710', '23505']);

async function attempt(run: () => Promise<unknown>): Promise<'ok' | 'refused'> {
  for (let tries = 0; ; tries += 1) {
    try {
      await run();
      return 'ok';
    } catch (error) {
      if (!(error instanceof postgres.PostgresError)) throw error;
      if (tolerated.has(error.code)) return 'ok';
      if (error.code === insufficientPrivilege) return 'refused';
      // "tuple concurrently updated": a migration of another database grants at the same time.
      if (error.code !== 'XX000' || tries === 5) throw error;
    }
  }
}

/**
 * Creates the roles and grants them to the current login where that is allowed.
 * @returns whether the login holds both: true means level L2 or better, false means L1.
 */
export async function ensureRoles(sql: Sql): Promise<boolean> {
  for (const role of roles) {
    const [known] = await sql`select from pg_roles where rolname = ${role}`;
    if (known === undefined) await attempt(() => sql`create role ${sql(role)} nologin`);
  }
  for (const role of roles) {
    const [held] = await sql<{ held: boolean }[]>`
      select coalesce(pg_has_role(current_user, r.oid, 'usage'), false) as held
      from pg_roles r where rolname = ${role}`;
    if (held === undefined) return false;
    if (!held.held) {
      const result = await attempt(() => sql`grant ${sql(role)} to current_user`);
      if (result === 'refused') return false;
    }
  }
  const [usable] = await sql<{ usable: boolean }[]>`
    select pg_has_role(current_user, 'purser_system', 'usage')
       and pg_has_role(current_user, 'purser_tenant', 'member') as usable`;
  return usable?.usable === true;
}

/**
 * Level L3: grants purser_tenant to the tenant login, and the tenant login to purser_system so that the system can
 * cancel its backends. Throws `tenant_login_missing` (exit 78). @returns false if this login may not grant; an administrator then has to.
 */
export async function admitTenantLogin(sql: Sql, login: string): Promise<boolean> {
  const [already] = await sql<{ held: boolean }[]>`
    select pg_has_role(oid, 'purser_tenant', 'usage') as held from pg_roles where rolname = ${login}`;
  // The server's message would repeat it.
  if (already === undefined) {
    throw new PurserError(
      'tenant_login_missing',
      'TENANT_DATABASE_URL: the server has no login of this name; correct its user, or create the login first',
      { exitCode: exitCodes.configuration },
    );
  }
  if (!already.held) {
    if ((await attempt(() => sql`grant purser_tenant to ${sql(login)}`)) === 'refused')
      return false;
  }
  return (await attempt(() => sql`grant ${sql(login)} to purser_system`)) === 'ok';
}
