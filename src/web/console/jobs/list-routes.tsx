/** /jobs: the jobs of a filter in any state, newest first, and the search box. */
import { Hono } from 'hono';
import type { Sql } from '../../../db/connect.ts';
import { findByText } from '../../../jobs/search/find.ts';
import { countJobs, listJobs } from '../../../jobs/search/list.ts';
import { quickCount, readPage } from '../../../jobs/search/whole-page.ts';
import { requireRole } from '../../access/route-rules.ts';
import type { WebEnv } from '../../web-env.ts';
import { answerPage } from '../layout.tsx';
import { idField, readQuery, textField } from '../parts/form.ts';
import { address } from '../parts/pager.tsx';
import { fieldsOf, fieldsOfFound, filterOf, filterShape } from './filter.ts';
import { ListPage } from './list-page.tsx';

const pageSize = 50;

export function createJobList({ sql }: { readonly sql: Sql }): Hono<WebEnv> {
  const app = new Hono<WebEnv>();
  app.get('/jobs', requireRole('viewer'), async (c) => {
    const { before, q, ...values } = readQuery(c, {
      ...filterShape(),
      before: idField(),
      q: textField(1_000),
    });
    if (q !== undefined && q.trim() !== '') {
      const found = await findByText(sql, q.trim());
      const only = Object.values(values).every((value) => value === undefined);
      return c.redirect(
        only && found.jobId !== undefined
          ? `/jobs/${found.jobId}`
          : address('/jobs', { ...fieldsOf(values), ...fieldsOfFound(found) }),
      );
    }
    const { jobs, isCut, count } = await readPage(sql, async (tx) => {
      const filter = await filterOf(tx, values);
      const rows = await listJobs(tx, { ...filter, limit: pageSize + 1, beforeId: before });
      const isCut = rows.length > pageSize;
      const jobs = rows.slice(0, pageSize);
      const isAll = !isCut && before === undefined;
      const counted = isAll ? jobs.length : await quickCount(tx, (part) => countJobs(part, filter));
      return { jobs, isCut, count: counted };
    });
    return answerPage(
      c,
      <ListPage
        access={c.get('access')}
        fields={fieldsOf(values)}
        jobs={jobs}
        count={count}
        next={isCut ? jobs.at(-1)?.jobId : undefined}
        isLater={before !== undefined}
      />,
    );
  });
  return app;
}
