/** Registers what the module of PURSER_HANDLERS has: its job types, and the schedules that are not there yet. */
import type { Queryable } from '../../db/connect.ts';
import { registerJobTypes } from '../../jobs/registration.ts';
import { addMissingSchedules } from '../../schedules/defaults.ts';
import type { OwnJobType } from './worker-parts.ts';

export async function registerOwn(sql: Queryable, own: readonly OwnJobType[]): Promise<void> {
  await registerJobTypes(sql, own);
  const schedules = own.flatMap((jobType) => jobType.schedules);
  if (schedules.length > 0) await addMissingSchedules(sql, schedules);
}
