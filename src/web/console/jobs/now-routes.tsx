/** /now: the fleet at this moment and over the last 24 hours. */
import { Hono } from 'hono';
import type { Sql } from '../../../db/connect.ts';
import { readNow } from '../../../operations/now/now.ts';
import { requireRole } from '../../access/route-rules.ts';
import type { WebEnv } from '../../web-env.ts';
import { answerPage } from '../layout.tsx';
import { readQuery } from '../parts/form.ts';
import { NowPage } from './now-page.tsx';

export function createNow({ sql }: { readonly sql: Sql }): Hono<WebEnv> {
  const app = new Hono<WebEnv>();
  app.get('/now', requireRole('viewer'), async (c) => {
    readQuery(c, {});
    return answerPage(c, <NowPage access={c.get('access')} fleet={await readNow(sql)} />);
  });
  return app;
}
