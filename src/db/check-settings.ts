/** What a session, a role and a database really have of the settings that Purser depends on. */
import { exitCodes, PurserError } from '../errors.ts';
import { keptSettings, sessionSettings } from '../session-settings.ts';
import type { SessionSetting } from '../session-settings.ts';
import type { Queryable } from './connect.ts';

/** Throws `session_settings_refused` (exit 78) where the session has a value that is not accepted. */
export async function assertSessionSettings(
  sql: Queryable,
  checked: readonly SessionSetting[] = sessionSettings,
): Promise<void> {
  const rows = await sql<{ name: string; found: string | null; role: string; database: string }[]>`
    select s.name, current_setting(s.name, true) as found, session_user as role,
           current_database() as database
    from unnest(${checked.map(({ name }) => name)}::text[]) as s (name)`;
  const found = new Map(rows.map((row) => [row.name, row.found]));
  const faults = checked.filter(({ name, value, accepts }) => {
    const is = found.get(name) ?? undefined;
    return is !== undefined && is !== value && accepts?.test(is) !== true;
  });
  if (faults.length === 0) return;
  const { role = '', database = '' } = rows[0] ?? {};
  const list = faults.map(
    ({ name, value }) => `${name} is '${found.get(name)}' instead of '${value}'`,
  );
  const fixes = faults.map(
    ({ name, value }) =>
      `  alter role "${role}" in database "${database}" set ${name} = '${value}';`,
  );
  throw new PurserError(
    'session_settings_refused',
    `sessions of ${role} have settings that change the meaning of statements, and which this connection cannot ` +
      `set: ${list.join(', ')}. As an administrator run\n${fixes.join('\n')}`,
    { exitCode: exitCodes.configuration },
  );
}

export interface ChangedSetting {
  /** `role app`, `database main` or `role app in database main`. */
  readonly owner: string;
  readonly setting: string;
}

/** Settings of this registry that the logins, all roles, or this database have, by ALTER ROLE or ALTER DATABASE. */
export async function listChangedSettings(
  sql: Queryable,
  tenantLogin: string | undefined,
): Promise<ChangedSetting[]> {
  const names = [...sessionSettings.map(({ name }) => name), ...keptSettings];
  return sql<ChangedSetting[]>`
    select concat_ws(' in ', 'role ' || r.rolname, 'database ' || d.datname) as owner, setting
    from pg_db_role_setting s
    cross join unnest(s.setconfig) as setting
    left join pg_roles r on r.oid = s.setrole
    left join pg_database d on d.oid = s.setdatabase
    where lower(split_part(setting, '=', 1)) = any (${names}::text[])
      and (s.setdatabase = 0 or d.datname = current_database())
      and (s.setrole = 0 or r.rolname in (session_user, ${tenantLogin ?? ''}))
    order by 1, 2`;
}

export async function majorVersion(sql: Queryable): Promise<number> {
  const [row] = await sql<{ version: number }[]>`
    select current_setting('server_version_num')::int / 10000 as version`;
  return row?.version ?? 0;
}

/** Texts of tenants are UTF-8; a database with another encoding refuses or changes some. */
export async function assertEncoding(sql: Queryable): Promise<void> {
  const [row] = await sql<{ encoding: string }[]>`
    select current_setting('server_encoding') as encoding`;
  if (row?.encoding === 'UTF8') return;
  throw new PurserError(
    'database_encoding',
    `the encoding of this database is ${row?.encoding}; create one with encoding 'UTF8' (template template0)`,
    { exitCode: exitCodes.configuration },
  );
}
