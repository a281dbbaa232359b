/** Schedules: by job type and cohort, or as they apply to a tenant; pauses of them, and a run beside their ticks. */
import { z } from '@hono/zod-openapi';
import { assertKnown } from '../../../jobs/pauses.ts';
import { pauseScheduleAs, resumeScheduleAs } from '../../../operations/schedules/pauses.ts';
import { runScheduleAs } from '../../../operations/schedules/run.ts';
import type { ScheduleTarget } from '../../../operations/schedules/target.ts';
import { cohorts, missedPolicies } from '../../../schedules/define.ts';
import { listTenantSchedules, summariseSchedules } from '../../../schedules/settings.ts';
import { PurserError } from '../../../errors.ts';
import type { Access } from '../../web-env.ts';
import { read, write } from '../endpoint.ts';
import type { Endpoint } from '../endpoint.ts';
import { assertWithin, scopeOf } from '../requests/limits.ts';
import { at, jobId, jobType, reason, tenantId } from '../schemas/fields.ts';

const timing = {
  jobType,
  cohort: z.enum(cohorts),
  zone: z.string(),
  splaySeconds: z.int(),
  missed: z.enum(missedPolicies),
  missedMost: z.int(),
};

const schedule = z
  .object({
    ...timing,
    cron: z.string(),
    enabled: z.boolean(),
    tenants: z.int(),
    overridden: z.int(),
    paused: z.int(),
    pausedBy: z.string().nullable(),
    pausedReason: z.string().nullable(),
  })
  .openapi('Schedule');

const tenantSchedule = z
  .object({
    ...timing,
    cron: z.string().nullable(),
    isOverridden: z.boolean(),
    pausedBy: z.enum(['tenant', 'cohort']).nullable(),
    pause: z.object({ by: z.string().nullable(), reason: z.string().nullable() }).nullable(),
    nextDue: at,
    lastBucket: at.nullable(),
  })
  .openapi('TenantSchedule');

const target = {
  cohort: z.enum(cohorts).optional().openapi({ description: 'Default: every cohort' }),
  tenantId: tenantId.optional().openapi({ description: 'One tenant, in place of a cohort' }),
};

interface Given {
  readonly cohort?: ScheduleTarget['cohort'] | undefined;
  readonly tenantId?: string | undefined;
}

/** Throws `forbidden` for a limited token that does not name a tenant or names one outside of its limits. */
function targetOf(access: Access, jobType: string, { cohort, tenantId }: Given): ScheduleTarget {
  if (cohort !== undefined && tenantId !== undefined) {
    throw new PurserError('invalid_request', 'name a cohort or a tenant, not both', {
      status: 400,
    });
  }
  assertWithin(access, { tenantId, jobType });
  if (tenantId === undefined && scopeOf(access).tenantIds !== undefined) {
    throw new PurserError('forbidden', 'this token names one of its tenants here', { status: 403 });
  }
  return { jobType, cohort: cohort ?? null, tenantId };
}

const ofType = {
  tag: 'schedules',
  method: 'post',
  role: 'operator',
  limitedTokens: 'own',
  params: z.object({ jobType }),
} as const;

export const scheduleEndpoints: readonly Endpoint[] = [
  read({
    path: '/schedules',
    operationId: 'listSchedules',
    tag: 'schedules',
    summary: 'List schedules by job type and cohort, with the number of their tenants',
    role: 'viewer',
    limitedTokens: 'refused',
    answer: z.object({ items: z.array(schedule) }),
    run: async ({ sql }) => ({ items: await summariseSchedules(sql) }),
  }),
  read({
    path: '/tenants/{tenantId}/schedules',
    operationId: 'listTenantSchedules',
    tag: 'schedules',
    summary: 'List the schedules of a tenant as they apply to it now',
    role: 'viewer',
    limitedTokens: 'own',
    params: z.object({ tenantId }),
    answer: z.object({ items: z.array(tenantSchedule) }),
    run: async ({ sql, access, params: { tenantId } }) => {
      assertWithin(access, { tenantId });
      await assertKnown(sql, { scope: 'tenant', name: tenantId });
      const { jobTypes } = scopeOf(access);
      const rows = await listTenantSchedules(sql, tenantId);
      return { items: rows.filter((row) => jobTypes?.includes(row.jobType) !== false) };
    },
  }),
  write({
    ...ofType,
    path: '/schedules/{jobType}/pause',
    operationId: 'pauseSchedule',
    summary: 'Pause the schedule of a job type, for all tenants, a cohort or one tenant',
    key: 'optional',
    body: z.strictObject({ ...target, reason }),
    answer: z.object({ paused: z.literal(true) }),
    act: ({ access, operator, params: { jobType }, body: { reason, ...given } }) => {
      const target = targetOf(access, jobType, given);
      return async (tx) => {
        await pauseScheduleAs(tx, operator, { target, reason });
        return { paused: true };
      };
    },
  }),
  write({
    ...ofType,
    path: '/schedules/{jobType}/resume',
    operationId: 'resumeSchedule',
    summary: 'End the pause of a schedule',
    description: '`resumed` is false where nothing was paused.',
    key: 'optional',
    body: z.strictObject({ ...target, reason: reason.optional() }),
    answer: z.object({ resumed: z.boolean() }),
    act: ({ access, operator, params: { jobType }, body: { reason, ...given } }) => {
      const target = targetOf(access, jobType, given);
      return async (tx) => ({ resumed: await resumeScheduleAs(tx, operator, { target, reason }) });
    },
  }),
  write({
    ...ofType,
    path: '/schedules/{jobType}/run',
    operationId: 'runSchedule',
    summary: 'Enqueue the job of a schedule for one tenant now, beside its ticks',
    key: 'required',
    status: 201,
    body: z.strictObject({ tenantId, reason: reason.optional() }),
    answer: z.object({ jobId }),
    act: ({ access, operator, params: { jobType }, body: { tenantId, reason } }) => {
      assertWithin(access, { tenantId, jobType });
      return async (tx) => ({
        jobId: await runScheduleAs(tx, operator, { jobType, tenantId, reason }),
      });
    },
  }),
];
