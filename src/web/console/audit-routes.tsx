/** /audit: what operators did. */
import { Hono } from 'hono';
import type { Context } from 'hono';
import { z } from 'zod';
import type { Sql } from '../../db/connect.ts';
import { isJobId } from '../../job-id.ts';
import { isStorable } from '../../names.ts';
import { listActs } from '../../operations/audit.ts';
import { requireRole } from '../access/route-rules.ts';
import type { WebEnv } from '../web-env.ts';
import { answerPage } from './layout.tsx';
import { AuditPage } from './pages/audit-page.tsx';

const pageSize = 50;

/** An empty field of the form names nothing. */
const text = z
  .string()
  .refine((value) => value.length <= 600 && isStorable(value))
  .transform((value) => (value === '' ? undefined : value))
  .optional();
const id = z
  .union([z.literal('').transform(() => undefined), z.string().refine(isJobId)])
  .optional();
const query = z.object({ operator: text, act: text, tenant: text, job: id, before: id });

export function createAudit({ sql }: { readonly sql: Sql }): Hono<WebEnv> {
  const app = new Hono<WebEnv>();
  app.get('/audit', requireRole('viewer'), async (c) => {
    const { success, data } = query.safeParse(c.req.query());
    if (!success) return refuse(c);
    const { before, ...filter } = data;
    const { operator, act, tenant: tenantId, job: jobId } = filter;
    const rows = await listActs(sql, {
      operator,
      act,
      tenantId,
      jobId,
      beforeId: before,
      limit: pageSize + 1,
    });
    const acts = rows.slice(0, pageSize);
    const olderThan = rows.length > pageSize ? acts.at(-1)?.id : undefined;
    const access = c.get('access');
    return answerPage(
      c,
      <AuditPage access={access} filter={filter} acts={acts} olderThan={olderThan} />,
    );
  });
  return app;
}

const refuse = (c: Context<WebEnv>) =>
  answerPage(
    c,
    <AuditPage
      access={c.get('access')}
      filter={{}}
      acts={[]}
      fault="A job id is a whole number, and a text has at most 600 characters."
    />,
    400,
  );
