/** The fleet at one moment: jobs by state, waits, processes, what keeps jobs from running, and the last 24 hours. */
import type { Sql } from '../../db/connect.ts';
import { countByState } from '../../jobs/inspect.ts';
import type { JobState } from '../../jobs/states.ts';
import { inOrder } from '../why/cause.ts';
import type { Cause } from '../why/cause.ts';
import { readProcesses } from '../why/processes.ts';
import { causesOfScope } from '../why/scopes.ts';
import { waitingTypes } from '../why/waiting-types.ts';
import type { WaitingType } from '../why/waiting-types.ts';
import { setPlans } from '../why/why.ts';
import { readHours } from './series.ts';
import type { SampledHours } from './series.ts';

export interface FleetNow {
  /** By the clock of the database. */
  readonly at: Date;
  /** States without jobs are missing. */
  readonly counts: Partial<Record<JobState, number>>;
  readonly hours: SampledHours;
  readonly scheduleLagMs: number;
  readonly waiting: readonly WaitingType[];
  readonly schedulers: number;
  /** Those that take jobs. */
  readonly workers: number;
  readonly draining: number;
  /** Workers whose heartbeats stopped within the last hour. */
  readonly silent: number;
  /** What keeps jobs from running, without those that only wait for their turn; the one to lift first first. */
  readonly causes: readonly Cause[];
}

/** One snapshot. */
export async function readNow(sql: Sql): Promise<FleetNow> {
  return sql.begin('isolation level repeatable read read only', async (tx) => {
    const [clock] = await tx<{ at: Date; scheduleLagMs: number }[]>`
      select now() as at, purser.schedule_lag_ms()::float8 as "scheduleLagMs"`;
    if (clock === undefined) throw new Error('the clock was not read');
    const counts = await countByState(tx);
    const hours = await readHours(tx);
    await setPlans(tx);
    const processes = await readProcesses(tx);
    const causes = inOrder(await causesOfScope(tx, {}));
    return {
      ...clock,
      counts,
      hours,
      waiting: await waitingTypes(tx, {}),
      schedulers: processes.schedulers.length,
      workers: processes.workers.length,
      draining: processes.draining.length,
      silent: processes.silent.length,
      causes: causes.filter(({ code }) => code !== 'turn' && code !== 'nothing_waits'),
    };
  });
}
