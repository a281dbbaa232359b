/** /tenants: all tenants with what waits, runs and is spent, and a page for each. */
import { Hono } from 'hono';
import { budgetStatus } from '../../../budget/budgets.ts';
import type { Sql } from '../../../db/connect.ts';
import { listJobLimits } from '../../../jobs/limits/job-limits.ts';
import { listPauses } from '../../../jobs/pauses.ts';
import { limitsInForce } from '../../../operations/tenants/in-force.ts';
import { listTenants } from '../../../operations/tenants/list.ts';
import { why } from '../../../operations/why/why.ts';
import { lastRuns } from '../../../schedules/last-runs.ts';
import { listTenantSchedules } from '../../../schedules/settings.ts';
import { requireRole } from '../../access/route-rules.ts';
import type { WebEnv } from '../../web-env.ts';
import { answerPage } from '../layout.tsx';
import { readQuery, textField } from '../parts/form.ts';
import { noTenant, tenantOf } from '../parts/tenant-of.ts';
import { TenantPage } from './tenant-page.tsx';
import { TenantsPage } from './tenants-page.tsx';

const pageSize = 50;

export function createTenants({ sql }: { readonly sql: Sql }): Hono<WebEnv> {
  const app = new Hono<WebEnv>();
  app.get('/tenants', requireRole('viewer'), async (c) => {
    const { tenant, after } = readQuery(c, { tenant: textField(), after: textField() });
    const rows = await listTenants(sql, {
      idBegins: tenant,
      afterId: after,
      limit: pageSize + 1,
    });
    const tenants = rows.slice(0, pageSize);
    const next = rows.length > pageSize ? tenants.at(-1)?.tenantId : undefined;
    return answerPage(
      c,
      <TenantsPage
        access={c.get('access')}
        tenants={tenants}
        tenant={tenant}
        after={after}
        next={next}
      />,
    );
  });
  app.get('/tenants/:tenant', requireRole('viewer'), async (c) => {
    readQuery(c, {});
    const tenantId = tenantOf(c);
    const [[listed], [budget], limits, jobLimits, schedules, runs, pauses] = await Promise.all([
      listTenants(sql, { tenantId, limit: 1 }),
      budgetStatus(sql, { tenantId }),
      limitsInForce(sql, tenantId),
      listJobLimits(sql, tenantId),
      listTenantSchedules(sql, tenantId),
      lastRuns(sql, tenantId),
      listPauses(sql),
    ]);
    if (listed === undefined || budget === undefined || limits === undefined) {
      throw noTenant(tenantId);
    }
    return answerPage(
      c,
      <TenantPage
        access={c.get('access')}
        tenant={listed}
        budget={budget}
        limits={limits}
        jobLimits={jobLimits}
        schedules={schedules}
        lastRuns={runs}
        pauses={pauses.filter(({ scope, name }) => scope !== 'tenant' || name === tenantId)}
        causes={(await why(sql, { tenantId })).causes}
      />,
    );
  });
  return app;
}
