/** The statements that a database ran, by pg_stat_statements. */
import type { Sql } from '../../src/db/connect.ts';
import type { Servers } from '../jobs/servers.ts';

/** Settings of a Postgres whose statements and commits are measured. */
export const measuringSettings = {
  shared_preload_libraries: 'pg_stat_statements',
  track_commit_timestamp: 'on',
};

export interface StatementTotals {
  readonly query: string;
  readonly calls: number;
  /** In the server, planning not included. */
  readonly execMs: number;
}

export interface Statements {
  reset(): Promise<void>;
  /** Since the reset, the most frequent first. */
  read(): Promise<StatementTotals[]>;
  close(): Promise<void>;
}

/** By a superuser's session on another database, so that its own statements are not among them. */
export async function openStatements(
  servers: Pick<Servers, 'bootstrapUrl'>,
  connect: (url: string, options: { max: number; applicationName: string }) => Sql,
  database: string,
): Promise<Statements> {
  const sql = connect(servers.bootstrapUrl, { max: 1, applicationName: 'bench statements' });
  await sql`create extension if not exists pg_stat_statements`;
  return {
    reset: async () => {
      await sql`select pg_stat_statements_reset()`;
    },
    read: () => sql<StatementTotals[]>`
      select regexp_replace(btrim(query), '\\s+', ' ', 'g') as query, sum(calls)::float8 as calls,
        sum(total_exec_time)::float8 as "execMs"
      from pg_stat_statements where dbid = (select oid from pg_database where datname = ${database})
      group by 1 order by 2 desc`,
    close: () => sql.end({ timeout: 5 }),
  };
}
