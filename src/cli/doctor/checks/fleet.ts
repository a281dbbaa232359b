/** Checks of what runs: the processes of each role, the flow of jobs, and the schedules. */
import type { Queryable } from '../../../db/connect.ts';
import { listHeartbeats } from '../../../db/heartbeats.ts';
import { readFlow } from '../../../jobs/flow.ts';
import { fail, ok, warn } from './finding.ts';
import type { CheckResult } from './finding.ts';

const heartbeatMaxAgeMs = 15_000;
const stalledAfterMs = 60_000;

export async function checkRole(
  sql: Queryable,
  role: 'scheduler' | 'worker',
): Promise<CheckResult> {
  const running = (await listHeartbeats(sql, heartbeatMaxAgeMs)).filter(
    (beat) => beat.role === role,
  );
  return running.length === 0
    ? warn('none is running', `start one: purser start ${role}`)
    : ok(`${running.length} running`);
}

const timeOf = (date: Date | null): string => date?.toISOString() ?? 'never';

/** Whether due jobs are dispatched and begun. Without any worker this is a warning: the fleet may not run yet. */
export async function checkFlow(sql: Queryable): Promise<CheckResult> {
  const flow = await readFlow(sql, { heartbeatMaxAgeMs, stalledAfterMs });
  const { withoutWorker, notDispatched, notBegun } = flow;
  const live = (await listHeartbeats(sql, heartbeatMaxAgeMs)).map(({ role }) => role);
  if (withoutWorker.length > 0) {
    const report = live.includes('worker') ? fail : warn;
    return report(
      `no live worker runs jobs of ${withoutWorker.join(', ')}, and some are due`,
      'start a worker with their handlers (PURSER_HANDLERS, PURSER_BUILTINS)',
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
