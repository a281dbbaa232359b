/**
 * The schedules of the user's module: `export const schedules = [...]`, results of defineSchedule or plain objects, each
 * for a job type of the same module.
 */
import { z } from 'zod';
import { messageOf } from '../errors.ts';
import { cohorts, defineSchedule, missedPolicies } from '../schedules/define.ts';
import type { DefinedSchedule } from '../schedules/define.ts';
import { parsePayload } from './define.ts';
import type { Handler } from './define.ts';

const shape = z.strictObject({
  jobType: z.string(),
  cron: z.string(),
  zone: z.string().optional(),
  splaySeconds: z.number().optional(),
  missed: z.enum(missedPolicies).optional(),
  missedMost: z.number().optional(),
  cohorts: z.array(z.enum(cohorts)).readonly().optional(),
});

/** Handlers with their schedules. `refuse` gets the fault of the first bad one, and throws. */
export async function withSchedules(
  handlers: readonly Handler[],
  given: unknown,
  refuse: (fault: string, cause?: unknown) => never,
): Promise<Handler[]> {
  if (!Array.isArray(given)) {
    refuse('`schedules` must be an array: export const schedules = [defineSchedule({ ... })]');
  }
  const schedules: DefinedSchedule[] = [];
  for (const [index, entry] of given.entries()) {
    const fault = (text: string, cause?: unknown): never =>
      refuse(`schedules[${index}]: ${text}`, cause);
    const schedule = defined(entry, fault);
    const handler = handlers.find(({ type }) => type === schedule.jobType);
    if (handler === undefined) {
      const types = handlers.map(({ type }) => type).join(', ');
      fault(
        `the module has no handler of the job type ${JSON.stringify(schedule.jobType)}; it has ${types}. ` +
          'Schedules of built-in job types are changed with `purser schedules set`',
      );
    } else {
      await checkEmptyPayload(handler, fault);
    }
    const first = schedules.findIndex(
      ({ jobType, cohorts: taken }) =>
        jobType === schedule.jobType && taken.some((cohort) => schedule.cohorts.includes(cohort)),
    );
    if (first >= 0) {
      fault(
        `schedules[${first}] is for ${schedule.jobType} and one of these cohorts too; a job type has one schedule per ` +
          'cohort: give each its own `cohorts`',
      );
    }
    schedules.push(schedule);
  }
  return handlers.map((handler) => ({
    ...handler,
    schedules: schedules.filter(({ jobType }) => jobType === handler.type),
  }));
}

function defined(entry: unknown, fault: (text: string, cause?: unknown) => never): DefinedSchedule {
  const parsed = shape.safeParse(entry);
  if (!parsed.success) {
    return fault(
      parsed.error.issues
        .map(({ path, message }) => (path.length === 0 ? message : `${path.join('.')}: ${message}`))
        .join('; '),
    );
  }
  try {
    const { jobType, cron, zone, splaySeconds, missed, missedMost } = parsed.data;
    return defineSchedule({
      jobType,
      cron,
      ...(zone === undefined ? {} : { zone }),
      ...(splaySeconds === undefined ? {} : { splaySeconds }),
      ...(missed === undefined ? {} : { missed }),
      ...(missedMost === undefined ? {} : { missedMost }),
      ...(parsed.data.cohorts === undefined ? {} : { cohorts: parsed.data.cohorts }),
    });
  } catch (error) {
    return fault(messageOf(error), error);
  }
}

/** What a schedule enqueues. */
async function checkEmptyPayload(
  handler: Handler,
  fault: (text: string, cause?: unknown) => never,
): Promise<void> {
  try {
    await parsePayload(handler, {});
  } catch (error) {
    fault(
      `a scheduled job has the payload {}, which its handler refuses (${messageOf(error)}); ` +
        'give its fields defaults, or make them optional',
      error,
    );
  }
}
