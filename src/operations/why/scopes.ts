/** Why jobs of a type, of a tenant, or of the whole fleet do not run. */
import type { Queryable } from '../../db/connect.ts';
import type { Pause } from '../../jobs/pauses.ts';
import { breakerCauses, stopCause } from './money.ts';
import type { StopRow } from './money.ts';
import type { Cause } from './cause.ts';
import { limitCauses } from './limits.ts';
import { parkedAndLater, parkedOf } from './parked.ts';
import { pauseCause } from './pauses.ts';
import {
  readProcesses,
  schedulerCauses,
  silentCauses,
  storeCauses,
  workerCauses,
} from './processes.ts';
import { waitingTypes } from './waiting-types.ts';
import type { WaitingType } from './waiting-types.ts';

export interface Scope {
  readonly jobType?: string | undefined;
  readonly tenantId?: string | undefined;
}

/** A worker that is gone for longer holds nothing any more. */
const silentForMs = 120_000;
const mostNamed = 20;

export async function causesOfScope(sql: Queryable, scope: Scope): Promise<Cause[]> {
  const { jobType, tenantId } = scope;
  const processes = await readProcesses(sql);
  const types = await waitingTypes(sql, scope);
  const waiting = types.filter(({ waiting: jobs }) => jobs > 0);
  const workers = workerCauses(processes, jobType);
  // Of a fleet or a tenant: the types that have jobs and no worker.
  const unserved =
    jobType !== undefined || processes.workers.length === 0
      ? []
      : types
          .filter((type) => type.waiting + type.queued > 0)
          .flatMap((type) => workerCauses(processes, type.jobType));
  const found = [
    ...(await pausesOf(sql, scope)).map(pauseCause),
    ...schedulerCauses(processes),
    ...storeCauses(processes.schedulers),
    ...(await stopsOf(sql, scope)),
    ...(jobType === undefined && tenantId === undefined ? await breakerCauses(sql) : []),
    ...(tenantId === undefined
      ? await parkedOf(sql, jobType)
      : await parkedAndLater(sql, tenantId)),
    ...workers,
    ...unserved,
    ...(await limitCauses(sql, scope)),
    ...silentCauses(processes.silent.filter(({ beatAgoMs }) => beatAgoMs < silentForMs)),
    ...waiting.map(inTurn),
  ];
  if (found.length > 0) return found;
  return [{ code: 'nothing_waits', says: 'no job waits', lift: null, facts: {} }];
}

function inTurn({ jobType, waiting, queued, oldestDueAt }: WaitingType): Cause {
  const count = waiting >= 1_000 ? '1,000+' : String(waiting);
  const since =
    oldestDueAt === null
      ? ''
      : `, the oldest of those first in line since ${oldestDueAt.toISOString()}`;
  return {
    code: 'turn',
    says: `${count} ${waiting === 1 ? `job of ${jobType} waits its` : `jobs of ${jobType} wait their`} turn${since}; ${queued} are queued`,
    lift: null,
    facts: { jobType, waiting: count, queued, oldestDueAt: oldestDueAt?.toISOString() ?? null },
  };
}

/** Of a type or tenant: those that hold it. Of the fleet: all. */
async function pausesOf(sql: Queryable, { jobType, tenantId }: Scope): Promise<Pause[]> {
  const isFleet = jobType === undefined && tenantId === undefined;
  return sql<Pause[]>`
    select scope, name, reason, by, at from public.pauses
    where ${isFleet} or scope = 'all' or (scope = 'job_type' and name = ${jobType ?? ''})
      or (scope = 'tenant' and name = ${tenantId ?? ''})
    order by scope <> 'all', at, scope, name limit ${mostNamed}`;
}

async function stopsOf(sql: Queryable, { jobType, tenantId }: Scope): Promise<Cause[]> {
  if (jobType !== undefined) return [];
  const stops = await sql<StopRow[]>`
    select tenant_id as "tenantId", provider, model, set_by as by, at, reason from public.llm_stops
    where ${tenantId === undefined} or tenant_id is null or tenant_id = ${tenantId ?? ''}
    order by at, id limit ${mostNamed}`;
  return stops.map(stopCause);
}
