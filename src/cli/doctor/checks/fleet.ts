/** Checks of what runs: the processes of each role, the flow of jobs, and the schedules. */
import type { Queryable } from '../../../db/connect.ts';
import { listHeartbeats, liveWithinMs } from '../../../db/heartbeats.ts';
import { readFlow } from '../../../jobs/flow.ts';
import { fail, ok, warn } from './finding.ts';
import type { CheckResult } from './finding.ts';

const stalledAfterMs = 60_000;

/** Without one a fleet may just not run yet; but not while jobs wait. */
export async function checkRole(
  sql: Queryable,
  role: 'scheduler' | 'worker',
): Promise<CheckResult> {
  const running = (await listHeartbeats(sql, liveWithinMs)).filter((beat) => beat.role === role);
  if (running.length > 0) return ok(`${running.length} running`);
  const fix = `start one: purser start ${role}`;
  return (await haveWork(sql))
    ? fail('none is running, and jobs wait', fix)
    : warn('none is running', fix);
}

/** Whether any job is due, in a queue, running or parked. */
async function haveWork(sql: Queryable): Promise<boolean> {
  const [work] = await sql<{ waits: boolean }[]>`
    select exists (select from purser.waiting) or exists (select from purser.in_flight)
      or exists (select from purser.parked)
      or exists (select from purser.later where scheduled_for <= now()) as waits`;
  return work?.waits ?? false;
}

const timeOf = (date: Date | null): string => date?.toISOString() ?? 'never';

/** Whether due jobs are dispatched and begun; those of a type that nobody runs count at once. */
export async function checkFlow(sql: Queryable): Promise<CheckResult> {
  const flow = await readFlow(sql, {
    heartbeatMaxAgeMs: liveWithinMs,
    stalledAfterMs,
    unservedAfterMs: 0,
  });
  const { withoutWorker, notDispatched, notBegun } = flow;
  const live = (await listHeartbeats(sql, liveWithinMs)).map(({ role }) => role);
  if (withoutWorker.length > 0) {
    return fail(
      `no live worker runs jobs of ${withoutWorker.join(', ')}, and some are due`,
      'start a worker with their handlers (PURSER_HANDLERS, PURSER_BUILTINS); see: purser why',
    );
  }
  if (notDispatched.length > 0 && live.includes('scheduler')) {
    return fail(
      `due jobs of ${notDispatched.join(', ')} are not dispatched`,
      'see the log of the scheduler',
    );
  }
  if (notBegun.length > 0) {
    return fail(
      `queued jobs of ${notBegun.join(', ')} are not begun, although a worker has a free slot`,
      'see the logs of the workers, and restart them',
    );
  }
  return ok(
    `last dispatch ${timeOf(flow.lastDispatchAt)}, last end of an attempt ${timeOf(flow.lastEndAt)}`,
  );
}

export async function checkSchedules(sql: Queryable): Promise<CheckResult> {
  const [row] = await sql<{ late: number; oldest: Date | null }[]>`
    select count(*)::int as late, min(next_due) as oldest from public.tenant_schedules
    where enabled and next_due < now() - interval '5 minutes'`;
  return row === undefined || row.late === 0
    ? ok('none is late')
    : warn(
        `${row.late} late, the oldest since ${row.oldest?.toISOString()}`,
        'check that a scheduler is running',
      );
}
