/** Takes away what the database refuses by itself, so that a wrong counter is written and can be found. */
import type { Sql } from '../../../src/db/connect.ts';

/** Drops the CHECK constraints of all tables of money. Primary, unique and foreign keys stay. */
export async function dropChecks(sql: Sql): Promise<number> {
  const checks = await sql<{ relation: string; name: string }[]>`
    select c.conrelid::regclass::text as relation, c.conname as name
    from pg_constraint c join pg_class t on t.oid = c.conrelid
    where c.contype = 'c' and t.relname like 'llm\\_%' and t.relkind in ('r', 'p')`;
  for (const { relation, name } of checks) {
    await sql`alter table ${sql(relation)} drop constraint ${sql(name)}`;
  }
  return checks.length;
}
