/** /schedules: by job type and cohort, or those of one tenant, and the acts that pause, resume and run them. */
import { Hono } from 'hono';
import type { Context } from 'hono';
import { z } from 'zod';
import type { Sql } from '../../../db/connect.ts';
import { messageOf } from '../../../errors.ts';
import { isStorable } from '../../../names.ts';
import { pauseScheduleAs, resumeScheduleAs } from '../../../operations/schedules/pauses.ts';
import { runScheduleAs } from '../../../operations/schedules/run.ts';
import { cohorts } from '../../../schedules/define.ts';
import { lastRuns } from '../../../schedules/last-runs.ts';
import { listTenantSchedules, summariseSchedules } from '../../../schedules/settings.ts';
import { comingTicks } from '../../../schedules/ticks.ts';
import { requireCsrf } from '../../access/csrf.ts';
import { requireRole } from '../../access/route-rules.ts';
import type { WebEnv } from '../../web-env.ts';
import { answerPage } from '../layout.tsx';
import {
  choiceField,
  idField,
  readForm,
  readQuery,
  reasonField,
  textField,
} from '../parts/form.ts';
import { formAct } from '../parts/form-act.ts';
import { leadTo } from '../parts/outcome.tsx';
import { tenantField } from '../parts/tenant-of.ts';
import { SchedulesPage } from './schedules-page.tsx';

const shownTicks = 3;

const typeField = () =>
  z
    .string({ error: 'is needed: a job type' })
    .refine(
      (type) => type !== '' && type.length <= 200 && isStorable(type),
      'takes the name of a job type',
    );

const target = { type: typeField(), cohort: choiceField(cohorts), tenant: textField() };

/** Times, or what is wrong with the expression. */
function ticksOf(cron: string, zone: string): readonly Date[] | string {
  try {
    return comingTicks(cron, zone, new Date(), shownTicks);
  } catch (error) {
    return messageOf(error);
  }
}

export function createSchedules({ sql }: { readonly sql: Sql }): Hono<WebEnv> {
  const app = new Hono<WebEnv>();
  app.get('/schedules', requireRole('viewer'), async (c) => {
    const { tenant, done, job } = readQuery(c, {
      tenant: textField(),
      done: textField(40),
      job: idField(),
    });
    const [schedules, ofTenant, runs] = await Promise.all([
      summariseSchedules(sql),
      tenant === undefined ? undefined : listTenantSchedules(sql, tenant),
      lastRuns(sql, tenant),
    ]);
    return answerPage(
      c,
      <SchedulesPage
        access={c.get('access')}
        schedules={schedules.map((one) => ({ ...one, ticks: ticksOf(one.cron, one.zone) }))}
        tenantId={tenant}
        ofTenant={ofTenant}
        lastRuns={runs}
        done={done}
        jobId={job}
      />,
    );
  });
  addActs(app, sql);
  return app;
}

const operatorOf = (c: Context<WebEnv>) => c.get('access').operator;

function addActs(app: Hono<WebEnv>, sql: Sql): void {
  app.post('/schedules/pause', requireRole('operator'), requireCsrf(), async (c) => {
    const { type, cohort, tenant, reason } = await readForm(c, {
      ...target,
      reason: reasonField(),
    });
    const named = { jobType: type, cohort: cohort ?? null, tenantId: tenant };
    await formAct(() => pauseScheduleAs(sql, operatorOf(c), { target: named, reason }));
    return leadTo(c, '/schedules', { tenant, done: 'paused' });
  });
  app.post('/schedules/resume', requireRole('operator'), requireCsrf(), async (c) => {
    const { type, cohort, tenant, reason } = await readForm(c, {
      ...target,
      reason: reasonField(),
    });
    const named = { jobType: type, cohort: cohort ?? null, tenantId: tenant };
    const resumed = await formAct(() =>
      resumeScheduleAs(sql, operatorOf(c), { target: named, reason }),
    );
    return leadTo(c, '/schedules', { tenant, done: resumed ? 'resumed' : 'not_paused' });
  });
  app.post('/schedules/run', requireRole('operator'), requireCsrf(), async (c) => {
    const form = await readForm(c, {
      type: typeField(),
      tenant: tenantField(),
      reason: reasonField(),
    });
    const request = { jobType: form.type, tenantId: form.tenant, reason: form.reason };
    const job = await formAct(() => runScheduleAs(sql, operatorOf(c), request));
    return leadTo(c, '/schedules', { tenant: form.tenant, done: 'run', job });
  });
}
