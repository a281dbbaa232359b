/** Attacks through the session and the server: state left behind, locks, signals, files. Outcomes: L3, L2, L1. */
import { randomUUID } from 'node:crypto';
import { connect } from '../../../src/db/connect.ts';
import type { Sql, Tx } from '../../../src/db/connect.ts';
import { terminateSessions } from '../../../src/db/tenant-pool.ts';
import { claimWaitingJobs } from '../../../src/jobs/dispatch.ts';
import { createLogger } from '../../../src/log.ts';
import { openQueueBackend } from '../../../src/queues/backend.ts';
import { createTransport } from '../../../src/queues/transport.ts';
import { eventually } from '../../jobs/job-steps.ts';
import { attack, open, sqlAttack } from './hostile.ts';
import type { Scene } from './hostile.ts';

/** Runs `fn` with another session, as tenant code of this level or as the system. */
async function withSession<T>(s: Scene, login: 'tenant' | 'system', fn: (sql: Sql) => Promise<T>) {
  const { test } = s.fixture;
  const url = login === 'tenant' && s.level === 'L3' ? test.tenantUrl : test.url;
  const session = connect(url, { max: 1, applicationName: 'another session' });
  try {
    return await fn(session);
  } finally {
    await session.end({ timeout: 5 });
  }
}

/** Dispatches a job to queues in Postgres. */
async function addQueueEntry(s: Scene): Promise<void> {
  const backend = openQueueBackend({
    databaseUrl: s.fixture.test.url,
    workers: 0,
    fleetId: s.database.fleetId,
    applicationName: 'purser test queues',
    log: createLogger({ level: 'silent', role: 'test' }),
  });
  const transport = createTransport(backend);
  await transport.add([{ jobId: '4711', jobType: 'test_step', entryId: randomUUID() }]);
  await transport.close();
  await backend.close();
}

/** Whether the hostile handler can signal another session. */
async function signals(s: Scene, login: 'tenant' | 'system', signal: string): Promise<unknown> {
  return withSession(s, login, async (session) => {
    const [row] = await session<{ pid: number }[]>`select pg_backend_pid() as pid`;
    const [sent] = await s.sql.unsafe<{ sent: boolean }>(`select ${signal}(${row?.pid}) as sent`);
    return sent?.sent === true ? open : sent;
  });
}

/** Whether locks of the hostile transaction block a statement of the system. */
function blocks(
  s: Scene,
  hold: string,
  statement: string | ((tx: Tx) => Promise<unknown>),
): Promise<unknown> {
  return s.sql.begin(async (tx) => {
    await tx.unsafe(hold);
    return s.database.system
      .begin(async (other) => {
        await other`set local lock_timeout = '200ms'`;
        await (typeof statement === 'string' ? other.unsafe(statement) : statement(other));
        return 'not blocked';
      })
      .catch((error: { code?: string }) => (error.code === '55P03' ? open : Promise.reject(error)));
  });
}

export const sessionAttacks = [
  sqlAttack(
    'temporary table that shadows one of the fleet',
    'own rows, own rows, own rows',
    () =>
      `create temp table aws_accounts (credentials text); create temp table ingest_uploads (a int)`,
  ),
  sqlAttack(
    'search_path, time zone and settings left for the next transaction',
    'own rows, own rows, own rows',
    () => `set search_path = nowhere; set timezone = 'Pacific/Kiritimati';
        set default_transaction_read_only = on; set my.note = 'planted'`,
  ),
  sqlAttack(
    'its context left for the next transaction',
    'own rows, own rows, own rows',
    () =>
      `do $$ begin perform set_config('purser.token', current_setting('purser.token'), false); end $$`,
  ),
  sqlAttack(
    'prepared statement left for the next transaction',
    'own rows, own rows, own rows',
    () => `prepare planted as select 1; prepare s1 as select 'planted'`,
  ),
  attack('cursor WITH HOLD of the previous transaction', 'refused, refused, refused', async (s) => {
    await s.victim.unsafe('declare kept cursor with hold for select * from aws_accounts');
    return s.sql.unsafe('fetch all from kept');
  }),
  attack(
    'sequence values of the previous transaction (lastval)',
    'refused, refused, refused',
    async (s) => {
      await s.victim`
      insert into analyses (tenant_id, job_id, analyst, period_start, period_end, currency, total_cost,
        headline, summary) values (${s.theirs}, 1, '{}', '2026-01-01', '2026-01-01', 'USD', 1, 'x', '')
      on conflict do nothing`;
      return s.sql`select lastval()`;
    },
  ),
  sqlAttack(
    'sequences: currval, last_value, setval',
    'refused, refused, open',
    (s) => `select last_value > 1 as seen from ingest_uploads_id_seq;
        select setval('ingest_uploads_id_seq', 1);
        select '${s.canary}' as reached`,
  ),
  attack('LISTEN on the channels of the queues', 'own rows, own rows, own rows', (s) =>
    withSession(s, 'tenant', async (session) => {
      const heard: string[] = [];
      for (const channel of ['bullmq_jobs', 'bullmq_events', 'bullmq_relay']) {
        await session.listen(channel, (payload) => heard.push(payload));
      }
      await addQueueEntry(s);
      await s.database.system`select pg_notify('bullmq_jobs', 'the end')`;
      await eventually('the last notification', () =>
        Promise.resolve(heard.includes('the end') ? heard : undefined),
      );
      // The payload is the name of the queue, which is the job type.
      return heard.every((payload) => ['test_step', 'the end'].includes(payload)) ? heard : open;
    }),
  ),
  sqlAttack('forged NOTIFY', 'own rows, own rows, own rows', () => `notify bullmq_jobs, 'x'`),
  attack('advisory lock of the fleet', 'open, open, open', (s) =>
    blocks(s, 'select pg_advisory_lock(1886745203)', 'select pg_advisory_xact_lock(1886745203)'),
  ),
  attack('advisory lock against claims', 'own rows, own rows, own rows', (s) =>
    blocks(s, 'select pg_advisory_lock(1886741345)', (sql) =>
      claimWaitingJobs(sql, [{ jobType: 'no_such_type', capacity: 1 }]),
    ),
  ),
  attack("pg_stat_activity: a running statement's text", 'open, own rows, open', (s) =>
    withSession(s, 'tenant', async (session) => {
      await session.unsafe(`select '${s.canary}'`);
      return s.sql`select query, application_name from pg_stat_activity`;
    }),
  ),
  attack("pg_stat_activity: a running attempt's token", 'own rows, own rows, own rows', (s) =>
    withSession(s, 'tenant', async (session) => {
      const entering = session`select set_config('purser.token', ${s.theirToken}, true), pg_sleep(0.2)`;
      const seen = await s.sql`
        select pg_sleep(0.05), query from pg_stat_activity where datname = current_database()`;
      await entering;
      return seen;
    }),
  ),
  attack("statistics of another tenant's temporary table", 'open, open, open', (s) =>
    withSession(s, 'tenant', async (session) => {
      if (s.level === 'L2') await session`set role purser_tenant`;
      await session.unsafe(`create temp table staging as
        select '${s.canary}'::text as note from generate_series(1, 9); analyze staging`);
      return s.sql`select most_common_vals::text from pg_stats where tablename = 'staging'`;
    }),
  ),
  attack("its session, when its executor's sessions are terminated", 'open, open, open', (s) =>
    s.sql.begin(async (tx) => {
      const [own] = await tx`select current_setting('application_name') as name`;
      await tx`set local application_name = 'nobody'`;
      await terminateSessions(s.database.system, String(own?.['name']));
      return tx`select 1`.then(() => open);
    }),
  ),
  attack("pg_terminate_backend of another tenant's session", 'open, refused, open', (s) =>
    signals(s, 'tenant', 'pg_terminate_backend'),
  ),
  attack("pg_cancel_backend of another tenant's statement", 'open, refused, open', (s) =>
    signals(s, 'tenant', 'pg_cancel_backend'),
  ),
  attack("pg_terminate_backend of the fleet's session", 'refused, refused, open', (s) =>
    signals(s, 'system', 'pg_terminate_backend'),
  ),
  attack('LOCK TABLE where it may delete', 'open, open, open', (s) =>
    blocks(s, 'lock table cost_records', 'select from cost_records limit 1'),
  ),
  attack('LOCK TABLE elsewhere', 'refused, refused, open', (s) =>
    blocks(s, 'lock table ingest_uploads', 'select from ingest_uploads limit 1'),
  ),
  attack('row locks', 'own rows, own rows, own rows', (s) =>
    blocks(
      s,
      'select file_name from ingest_uploads for update',
      `select from ingest_uploads where tenant_id = '${s.theirs}' for update`,
    ),
  ),
  attack("pg_sleep holding its attempt's lock, without a timeout", 'open, open, open', (s) =>
    blocks(
      s,
      `set local statement_timeout = 0; set local idle_in_transaction_session_timeout = 0;
       select purser.commit_fence(); select pg_sleep(0.01)`,
      `delete from purser.in_flight where tenant_id = '${s.mine}'`,
    ),
  ),
  sqlAttack(
    'prepared transaction',
    'refused, refused, refused',
    () => `prepare transaction 'planted'`,
  ),
  attack('large object of another tenant', 'open, open, open', async (s) => {
    const [object] = await s.victim<{ oid: string }>`
      select lo_from_bytea(0, convert_to(${s.canary}, 'UTF8'))::text as oid`;
    return s.sql.unsafe(`select convert_from(lo_get(${object?.oid}), 'UTF8')`);
  }),
  sqlAttack(
    'files of the server',
    'refused, refused, refused',
    () => `select pg_read_file('postgresql.conf'); select lo_import('/etc/passwd'), pg_ls_dir('.')`,
  ),
  sqlAttack(
    'passwords and roles: pg_authid',
    'refused, refused, refused',
    () => `select rolpassword from pg_authid`,
  ),
  sqlAttack(
    'replication slot',
    'refused, refused, refused',
    () => `select pg_create_logical_replication_slot('planted', 'test_decoding')`,
  ),
  sqlAttack(
    'checkpoint, statistics reset, log rotation',
    'refused, refused, refused',
    () => `select pg_stat_reset(), pg_rotate_logfile()`,
  ),
];
