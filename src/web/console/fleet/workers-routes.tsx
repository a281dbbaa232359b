/** /workers: the workers of the fleet and what they run; drains of them. */
import { Hono } from 'hono';
import { z } from 'zod';
import type { Sql } from '../../../db/connect.ts';
import { isStorable } from '../../../names.ts';
import { drainWorkers } from '../../../operations/workers/drain.ts';
import { listWorkers } from '../../../operations/workers/list.ts';
import { requireCsrf } from '../../access/csrf.ts';
import { requireRole } from '../../access/route-rules.ts';
import type { WebEnv } from '../../web-env.ts';
import { answerPage } from '../layout.tsx';
import { readForm, readQuery, reasonField, textField } from '../parts/form.ts';
import { formAct } from '../parts/form-act.ts';
import { leadTo } from '../parts/outcome.tsx';
import { WorkersPage } from './workers-page.tsx';

const shownJobs = 100;

const form = {
  worker: z
    .string({ error: 'is needed: the id of a worker' })
    .refine((id) => id !== '' && id.length <= 500 && isStorable(id), 'takes the id of a worker'),
  reason: reasonField(),
};

export function createWorkers({ sql }: { readonly sql: Sql }): Hono<WebEnv> {
  const app = new Hono<WebEnv>();
  app.get('/workers', requireRole('viewer'), async (c) => {
    const { done } = readQuery(c, { done: textField(40) });
    const list = await listWorkers(sql, shownJobs);
    return answerPage(c, <WorkersPage access={c.get('access')} {...list} done={done} />);
  });
  for (const [path, undo] of [
    ['/workers/drain', false],
    ['/workers/undo-drain', true],
  ] as const) {
    app.post(path, requireRole('operator'), requireCsrf(), async (c) => {
      const { worker, reason } = await readForm(c, form);
      const { operator } = c.get('access');
      const { changedIds } = await formAct(() =>
        drainWorkers(sql, operator, { worker, reason, undo }),
      );
      const changed = undo ? 'undone' : 'drained';
      return leadTo(c, '/workers', { done: changedIds.length === 0 ? 'unchanged' : changed });
    });
  }
  return app;
}
