/**
 * Ends tenant sessions whose locks others wait for, and tells their attempts: the loss of a session costs no attempt,
 * except that of a session whose own lock was the reason.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { PurserError } from '../../errors.ts';
import type { Fragment, Sql } from '../connect.ts';

interface Holder {
  readonly pid: number;
  /** Seconds since 1970. */
  readonly since: string | null;
}

/**
 * `holders` is a query with the columns pid, xact_start and lock (what it held; null: its attempt is not told). Returns
 * the number of ended sessions.
 */
export async function breakLocks(system: Sql, holders: Fragment): Promise<number> {
  const found = await recordHolders(system, holders);
  if (found.length === 0) return 0;
  // A transaction that has ended meanwhile is left alone, and so is the next one of its session.
  const ended = await system`
    select pg_terminate_backend(a.pid) from pg_stat_activity a
    join jsonb_to_recordset(${JSON.stringify(found)}::text::jsonb) as h (pid integer, since numeric) on h.pid = a.pid
      and h.since is not distinct from extract(epoch from a.xact_start)`;
  return ended.count;
}

/** Committed before the sessions end: their attempts read it at once. */
async function recordHolders(system: Sql, holders: Fragment): Promise<Holder[]> {
  return system<Holder[]>`
    with holders as materialized (${holders}), old as (
      delete from purser.broken_locks where broken_at < now() - interval '1 hour'
    ), recorded as (
      insert into purser.broken_locks (pid, xact_start, lock)
      select pid, xact_start, lock from holders where lock is not null and xact_start is not null
      on conflict do nothing
    )
    select pid, extract(epoch from xact_start)::text as since from holders`;
}

const answerWithinMs = 1_000;

/** Why the sweep ended a transaction, if it did. `ask` reads purser.broken_lock; what it throws is ignored. */
export async function brokenLock(
  ask: () => Promise<string | null | undefined>,
): Promise<PurserError | undefined> {
  const timeout = new AbortController();
  const late = sleep(answerWithinMs, undefined, { signal: timeout.signal }).catch(() => {});
  const lock = await Promise.race([ask().catch(() => undefined), late]);
  timeout.abort();
  if (typeof lock !== 'string') return undefined;
  return new PurserError(
    'lock_broken',
    `the scheduler ended this transaction: it held a lock on ${lock}, for which the fleet or other tenants had to wait. ` +
      'Lock single rows (select ... for update) instead of a table, and commit before slow work',
    { details: { class: 'retry', lock } },
  );
}
