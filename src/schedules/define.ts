/** A schedule of a job type, as code or an operator defines it. It is refused with the reason and the fix. */
import { messageOf, PurserError } from '../errors.ts';
import { nameFault, quotedName } from '../names.ts';
import { shortestInterval } from './ticks.ts';

export const cohorts = ['high_value', 'active', 'dormant'] as const;
export type Cohort = (typeof cohorts)[number];

export const missedPolicies = ['skip', 'once', 'all'] as const;
export type MissedPolicy = (typeof missedPolicies)[number];

export const defaultMissedMost = 24;
export const largestMissedMost = 1_000;

export interface ScheduleDefinition {
  readonly jobType: string;
  /** Five fields, such as `0 *\/3 * * *`; six with seconds first. */
  readonly cron: string;
  /** An IANA zone. Default UTC. */
  readonly zone?: string;
  /**
   * Each tenant's ticks have a fixed offset below this, so that not all are due at once. Smaller than the interval.
   * Default 0.
   */
  readonly splaySeconds?: number;
  /**
   * What becomes of ticks that no scheduler claimed in time. `skip`: they make no job, if they are late by half an
   * interval or five minutes. `once` (default): the newest makes one. `all`: the newest `missedMost` make one each.
   */
  readonly missed?: MissedPolicy;
  /** 1 to 1,000, with `all`. Default 24. */
  readonly missedMost?: number;
  /** Default: all of them. */
  readonly cohorts?: readonly Cohort[];
}

/** A checked definition. */
export type DefinedSchedule = Required<ScheduleDefinition>;

/** What `defineSchedule` and the CLI check. */
export type ScheduleTiming = Pick<
  DefinedSchedule,
  'cron' | 'zone' | 'splaySeconds' | 'missed' | 'missedMost'
>;

/** Checks a definition and fills in its defaults. Throws `invalid_schedule` naming the property and the fix. */
export function defineSchedule(definition: ScheduleDefinition): DefinedSchedule {
  const schedule = {
    zone: 'UTC',
    splaySeconds: 0,
    missed: 'once' as const,
    missedMost: defaultMissedMost,
    cohorts,
    ...definition,
  };
  const fault =
    nameFault('job_type', schedule.jobType) ??
    cohortsFault(schedule.cohorts) ??
    timingFault(schedule, new Date());
  if (fault === undefined) return schedule;
  // JavaScript modules are not checked by a compiler.
  const jobType: unknown = schedule.jobType;
  const shown = typeof jobType === 'string' ? quotedName(jobType) : typeof jobType;
  throw new PurserError('invalid_schedule', `schedule of ${shown}: ${fault}`);
}

function cohortsFault(given: readonly unknown[]): string | undefined {
  // JavaScript modules are not checked by a compiler.
  const known: readonly unknown[] = cohorts;
  if (!Array.isArray(given) || given.length === 0) {
    return `cohorts must be an array of at least one of ${cohorts.join(', ')}; leave it out for all of them`;
  }
  const unknown = given.find((cohort) => !known.includes(cohort));
  if (unknown !== undefined) {
    return `cohorts: there is no cohort ${JSON.stringify(unknown)}; use ${cohorts.join(', ')}`;
  }
  return new Set(given).size === given.length ? undefined : 'cohorts names a cohort twice';
}

/** What is wrong with the times of a schedule, in words that name the fix; undefined when nothing is. */
export function timingFault(schedule: ScheduleTiming, now: Date): string | undefined {
  const { cron, zone, splaySeconds, missed, missedMost } = schedule;
  const policies: readonly unknown[] = missedPolicies;
  if (!policies.includes(missed)) return `missed must be one of ${missedPolicies.join(', ')}`;
  if (!Number.isInteger(missedMost) || missedMost < 1 || missedMost > largestMissedMost) {
    return `missedMost must be a whole number from 1 to ${largestMissedMost}`;
  }
  if (!Number.isInteger(splaySeconds) || splaySeconds < 0) {
    return 'splaySeconds must be a whole number of seconds, 0 or more';
  }
  if (typeof cron !== 'string' || typeof zone !== 'string') {
    return 'cron and zone must be texts, such as "0 */3 * * *" and "Europe/Berlin"';
  }
  try {
    const shortest = shortestInterval(cron, zone, now);
    if (splaySeconds === 0 || splaySeconds < shortest) return undefined;
    return (
      `a splay of ${splaySeconds} s is not smaller than the interval of ${JSON.stringify(cron)}, which is ` +
      `${shortest} s at its shortest; use ${shortest - 1} s at most`
    );
  } catch (error) {
    return messageOf(error);
  }
}
