/** Attacks on the context: tokens, roles, settings, ends of the transaction. Outcomes: L3, L2, L1. */
import { randomUUID } from 'node:crypto';
import { closeOperatorToken, openOperatorToken, tenantSql } from '../../../src/db/tenant.ts';
import type { Tx } from '../../../src/db/connect.ts';
import { attack, sqlAttack } from './hostile.ts';

const accounts = 'select * from aws_accounts';

export const contextAttacks = [
  sqlAttack(
    "set_config with the other tenant's id",
    'refused, refused, refused',
    (s) => `select set_config('purser.token', '${s.theirs}', true); ${accounts}`,
  ),
  sqlAttack(
    'forged token',
    'refused, refused, refused',
    () => `set local purser.token = '${randomUUID()}'; ${accounts}`,
  ),
  sqlAttack(
    'stale token',
    'refused, refused, refused',
    (s) => `set local purser.token = '${s.staleToken}'; ${accounts}`,
  ),
  sqlAttack(
    "another running job's token, searched for",
    'refused, refused, own rows',
    () => `select token::text from purser.operator_tokens union all
        select token::text from purser.in_flight union all
        select attempt_token::text from background_jobs`,
  ),
  sqlAttack(
    "another running job's token, already known",
    'open, open, open',
    (s) => `set local purser.token = '${s.theirToken}'; ${accounts}`,
  ),
  sqlAttack(
    "the id of another running job with the secret of one's own token",
    'refused, refused, refused',
    // The first 16 digits are the job's id.
    (s) => `select set_config('purser.token',
        left('${s.theirToken}', 18) || right(current_setting('purser.token'), 18), true); ${accounts}`,
  ),
  sqlAttack(
    'no token',
    'refused, refused, refused',
    () => `set local purser.token = ''; ${accounts}`,
  ),
  sqlAttack(
    'token changed behind a savepoint',
    'refused, refused, refused',
    (s) => `savepoint a; set local purser.token = '${s.staleToken}'; rollback to a; ${accounts};
        savepoint b; set local purser.token = '${randomUUID()}'; release b; ${accounts}`,
  ),
  sqlAttack('deleting its own context', 'refused, refused, own rows', () => {
    return `delete from purser.in_flight`;
  }),
  attack('a closed operator token', 'refused, refused, refused', async (s) => {
    const token = await openOperatorToken(s.database.system, s.theirs, 60_000);
    await closeOperatorToken(s.database.system, token);
    return tenantSql(s.database.tenant, { token })`select * from aws_accounts`;
  }),
  sqlAttack(
    'COMMIT, then a statement without a context',
    'refused, open, refused',
    () => `select 1; commit; ${accounts}`,
  ),
  sqlAttack(
    'ROLLBACK, then a statement without a context',
    'refused, open, refused',
    () => `rollback; ${accounts}`,
  ),
  sqlAttack('COMMIT AND CHAIN', 'refused, open, refused', () => `commit and chain; ${accounts}`),
  sqlAttack(
    'a second transaction in the same text',
    'refused, refused, refused',
    () => `do $$ begin perform set_config('my.token', current_setting('purser.token'), false); end $$;
        commit; begin; select set_config('purser.token', current_setting('my.token'), true);
        set local role 'purser_tenant'; ${accounts}; commit`,
  ),
  attack('COMMIT before the fence', 'own rows, own rows, own rows', async (s) => {
    const { system } = s.database;
    await s.sql
      .begin(async (tx) => {
        const [own] = await tx`select current_setting('purser.token') as token`;
        await tx`
          insert into aws_accounts (tenant_id, account_id, credentials, encryption_key_version)
          values (${s.mine}, 'late', 'x', 1)`;
        await system`delete from purser.in_flight where token = ${String(own?.['token'])}`;
        await tx.unsafe('commit');
      })
      .catch(() => {});
    return system`select tenant_id from aws_accounts where account_id = 'late'`;
  }),
  sqlAttack(
    'DO block that commits',
    'refused, refused, refused',
    () => `do $$ begin commit; end $$`,
  ),
  attack(
    'statement through a transaction object that has ended',
    'refused, refused, refused',
    async (s) => {
      let kept: Tx | undefined;
      await s.sql.begin(async (tx) => {
        kept = tx;
        await tx`select 1`;
      });
      return s.victim.begin(async (tx) => {
        await tx`select 1`;
        return kept?.unsafe(accounts);
      });
    },
  ),
  sqlAttack('SET ROLE purser_system', 'refused, open, refused', () => {
    return `set local role purser_system; ${accounts}`;
  }),
  sqlAttack('RESET ROLE', 'own rows, open, own rows', () => `reset role; ${accounts}`),
  sqlAttack(
    "SET SESSION AUTHORIZATION to the owner's login",
    'refused, open, refused',
    () => `set session authorization purser_app; ${accounts}`,
  ),
  sqlAttack(
    'mark of a system session (purser.system)',
    'own rows, own rows, open',
    () => `set local purser.system = 'on'; ${accounts}`,
  ),
  sqlAttack(
    'search_path of a definer function',
    'own rows, own rows, open',
    () => `set local search_path = pg_catalog, public, purser, pg_temp; ${accounts}`,
  ),
  sqlAttack('row_security = off', 'refused, refused, refused', () => {
    return `set local row_security = off; ${accounts}`;
  }),
  sqlAttack('session_replication_role', 'refused, refused, refused', () => {
    return `set local session_replication_role = replica; delete from aws_accounts where false`;
  }),
  sqlAttack(
    'REPEATABLE READ and an exported snapshot',
    'refused, refused, refused',
    () =>
      `select pg_export_snapshot(); set transaction isolation level repeatable read; ${accounts}`,
  ),
  sqlAttack(
    'enqueue for the other tenant',
    'refused, refused, open',
    (s) => `select purser.enqueue('${s.theirs}', 'test_step')`,
  ),
  attack(
    'a job scheduled at plus or minus infinity',
    'refused, refused, refused',
    async ({ sql }) => {
      const enqueued = await Promise.allSettled(
        ['-infinity', 'infinity', '290000-01-01'].map(
          (at) =>
            sql`select purser.enqueue_child('test_step', '{}', null, ${at}::text::timestamptz)`,
        ),
      );
      for (const one of enqueued) if (one.status === 'fulfilled') return 'accepted';
      throw new Error('all were refused');
    },
  ),
  sqlAttack(
    "functions of the fleet: a hold on the other tenant's budget",
    'refused, refused, own rows',
    (s) => `select purser.budget_reserve('${s.theirs}', 1, 1, '${s.theirToken}'::uuid, 'k',
        interval '1 hour', 'platform', null, '[{"hold_usd":1}]', now())`,
  ),
  sqlAttack(
    'functions of the fleet: registering tables',
    'refused, refused, open',
    () => `select purser.forget_table('public.aws_accounts')`,
  ),
  sqlAttack(
    'its own plan and budget',
    'refused, refused, open',
    (s) => `update tenants set plan = 'enterprise' where id = '${s.mine}';
        update llm_budgets set monthly_limit_usd = 1000`,
  ),
];
