/** Attacks that read or write rows of another tenant with plain statements. Outcomes: L3, L2, L1. */
import { attack, open, sqlAttack } from './hostile.ts';
import type { Scene } from './hostile.ts';

const peek = (body: string) => `
  create function pg_temp.peek(seen text) returns boolean language plpgsql cost 0.0000001 as $$
  begin
    perform set_config('my.seen', coalesce(current_setting('my.seen', true), '') || seen, true);
    return true;
  end $$;
  ${body};
  select current_setting('my.seen', true)`;

/** SQLSTATE of a statement, or `none`. */
async function codeOfInsert(scene: Scene, text: string): Promise<string> {
  return scene.sql
    .unsafe(text)
    .then(() => 'none')
    .catch((error: { code?: string }) => error.code ?? 'unknown');
}

export const readingAttacks = [
  sqlAttack(
    'WHERE names the other tenant',
    'own rows, own rows, own rows',
    (s) => `select * from aws_accounts where tenant_id = '${s.theirs}' or true`,
  ),
  sqlAttack(
    'JOIN, UNION and a recursive query',
    'own rows, own rows, own rows',
    () => `
      select a.*, b.* from aws_accounts a cross join lateral (select * from ingest_uploads) b;
      with recursive r as (select credentials, 1 as n from aws_accounts
        union all select a.credentials, n + 1 from r, aws_accounts a where n < 3) select * from r
      union all select file_name, 0 from ingest_uploads`,
  ),
  sqlAttack(
    'TABLESAMPLE, ctid and system columns',
    'own rows, own rows, own rows',
    () => `
      select * from aws_accounts tablesample system (100);
      select ctid, xmin, tableoid, credentials from aws_accounts
      where ctid = any (array(select ('(0,' || n || ')')::tid from generate_series(1, 50) n))`,
  ),
  sqlAttack(
    'dynamic SQL in a DO block',
    'own rows, own rows, own rows',
    () => `do $$ declare r record; begin
        for r in execute 'select * from aws_accounts' loop
          perform set_config('my.seen', coalesce(current_setting('my.seen', true), '') || r.credentials, true);
        end loop; end $$; select current_setting('my.seen', true)`,
  ),
  attack('query_to_xml and table_to_xml', 'own rows, own rows, own rows', ({ sql }) =>
    sql`
      select query_to_xml('select * from aws_accounts', true, true, '')::text,
             table_to_xml('aws_accounts', true, true, '')::text`.catch(
      (error: { code?: string }) => {
        // 0A000: a server that was built without XML.
        if (error.code !== '0A000') throw error;
      },
    ),
  ),
  sqlAttack('cheap leaky function in WHERE', 'own rows, own rows, own rows', () =>
    peek(
      `select count(*) from aws_accounts where pg_temp.peek(credentials) and account_id = 'account'`,
    ),
  ),
  sqlAttack('leaky operator with an estimator', 'own rows, own rows, own rows', () =>
    peek(`
        create function pg_temp.same(a text, b text) returns boolean language plpgsql cost 0.0000001 as $$
        begin perform pg_temp.peek(a); perform pg_temp.peek(b); return a = b; end $$;
        create operator pg_temp.=== (leftarg = text, rightarg = text, function = pg_temp.same,
          restrict = eqsel, join = eqjoinsel);
        select count(*) from ingest_uploads where file_name operator(pg_temp.===) 'x'`),
  ),
  sqlAttack(
    'error from a value in WHERE',
    'own rows, own rows, own rows',
    () => `select 1 / (case when credentials like 'canary%' then 0 else 1 end) from aws_accounts`,
  ),
  sqlAttack(
    'LEAKPROOF function',
    'refused, refused, refused',
    () =>
      `create function pg_temp.f(text) returns boolean language sql leakproof as 'select true'; select 1`,
  ),
  sqlAttack(
    'its own SECURITY DEFINER function',
    'own rows, own rows, own rows',
    () => `
      create function pg_temp.all_rows() returns setof aws_accounts language sql security definer
        as 'select * from public.aws_accounts';
      select * from pg_temp.all_rows()`,
  ),
  sqlAttack(
    'temporary view',
    'own rows, own rows, own rows',
    () => `create temp view v as select * from aws_accounts; select * from v`,
  ),
  sqlAttack(
    'materialised view',
    'refused, refused, open',
    () => `create materialized view public.m as select * from aws_accounts; select * from m`,
  ),
  sqlAttack(
    "view of the fleet's budgets",
    'refused, refused, own rows',
    (s) => `select * from llm_budget_status where tenant_id = '${s.theirs}'`,
  ),
  attack('COPY TO STDOUT', 'own rows, own rows, own rows', ({ sql }) =>
    sql.begin(async (tx) => {
      const stream = await tx`copy (select * from aws_accounts) to stdout`.readable();
      let text = '';
      for await (const chunk of stream) text += String(chunk);
      return text;
    }),
  ),
  sqlAttack('COPY FROM STDIN', 'refused, refused, refused', () => `copy aws_accounts from stdin`),
  sqlAttack(
    'COPY to a program or a file of the server',
    'refused, refused, refused',
    () => `copy (select 1) to program 'cat >/dev/null'; copy (select 1) to '/tmp/x'`,
  ),
  sqlAttack(
    'INSERT for the other tenant',
    'refused, refused, refused',
    (s) => `insert into aws_accounts (tenant_id, account_id, credentials, encryption_key_version)
        values ('${s.theirs}', 'planted', 'x', 1)`,
  ),
  sqlAttack(
    "UPDATE of the other tenant's row",
    'own rows, own rows, own rows',
    (s) =>
      `update ingest_uploads set file_name = 'x' where tenant_id = '${s.theirs}' returning file_name`,
  ),
  sqlAttack(
    'UPDATE of its own row to the other tenant',
    'refused, refused, refused',
    (s) => `update ingest_uploads set tenant_id = '${s.theirs}'`,
  ),
  sqlAttack(
    "DELETE of the other tenant's rows",
    'own rows, own rows, own rows',
    (s) => `delete from ingest_chunks where tenant_id = '${s.theirs}' or true returning *`,
  ),
  sqlAttack('TRUNCATE', 'refused, refused, refused', () => `truncate aws_accounts`),
  attack('unique-key probing', 'own rows, own rows, own rows', async (s) => {
    const chunk = (seq: number) =>
      codeOfInsert(
        s,
        `insert into ingest_chunks values (${s.theirUpload}, ${seq}, '${s.mine}', 'x')`,
      );
    return (await chunk(0)) === (await chunk(7)) ? 'one answer for both' : open;
  }),
  attack('foreign-key probing', 'own rows, own rows, own rows', async (s) => {
    const chunk = (upload: string) =>
      codeOfInsert(s, `insert into ingest_chunks values (${upload}, 9, '${s.mine}', 'x')`);
    return (await chunk(s.theirUpload)) === (await chunk('999999999'))
      ? 'one answer for both'
      : open;
  }),
  attack("taking the id of another tenant's next row", 'refused, refused, open', async (s) => {
    const insert = (more: string, values: string, tenantId: string) =>
      `insert into ingest_uploads (${more}tenant_id, file_name, file_hash) overriding system value
       select ${values}'${tenantId}', 'x', repeat('0', 64)`;
    const highest = `n, `;
    const text = `${insert('id, ', highest, s.mine)} from generate_series(302, 2000) n`;
    await s.sql.unsafe(text);
    const next = s.victim.unsafe(insert('', '', s.theirs).replace('overriding system value', ''));
    return next.then(() => 'its own').catch(() => open);
  }),
  attack('EXPLAIN estimates', 'own rows, own rows, own rows', async (s) => {
    const estimate = async (operator: string, fileName: string) => {
      const [plan] = await s.sql.unsafe<{ 'QUERY PLAN': { Plan: { 'Plan Rows': number } }[] }>(
        `explain (format json) select from ingest_uploads where file_name ${operator} '${fileName}'`,
      );
      return plan?.['QUERY PLAN'][0]?.Plan['Plan Rows'] ?? 0;
    };
    const reveals =
      (await estimate('=', s.canary)) > (await estimate('=', 'nobody has this')) ||
      (await estimate('<', `${s.canary}!`)) > (await estimate('<', 'canary'));
    return reveals ? open : 'nothing';
  }),
  sqlAttack(
    'statistics: pg_stats',
    'own rows, own rows, own rows',
    () => `select * from pg_stats where tablename in ('ingest_uploads', 'aws_accounts')`,
  ),
  sqlAttack(
    'statistics: pg_statistic',
    'refused, refused, refused',
    () => `select * from pg_statistic`,
  ),
  attack('number of rows of all tenants in the catalogue', 'open, open, open', async ({ sql }) => {
    const [row] = await sql<{ rows: number }>`
      select reltuples::int as rows from pg_class where oid = 'ingest_uploads'::regclass`;
    return (row?.rows ?? 0) > 1 ? open : row;
  }),
];
