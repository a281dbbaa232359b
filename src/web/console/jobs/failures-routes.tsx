/** /failures: dead letters, or failed attempts, grouped by their cause. */
import { Hono } from 'hono';
import type { Sql } from '../../../db/connect.ts';
import { listFailureGroups } from '../../../jobs/failures/groups.ts';
import { readPage } from '../../../jobs/search/whole-page.ts';
import { requireRole } from '../../access/route-rules.ts';
import type { WebEnv } from '../../web-env.ts';
import { answerPage } from '../layout.tsx';
import { choiceField, readQuery } from '../parts/form.ts';
import { FailuresPage } from './failures-page.tsx';
import { fieldsOf, filterOf, filterShape } from './filter.ts';

const groupedOver = ['dead_letters', 'attempts'] as const;
const shownGroups = 50;

export function createFailures({ sql }: { readonly sql: Sql }): Hono<WebEnv> {
  const app = new Hono<WebEnv>();
  app.get('/failures', requireRole('viewer'), async (c) => {
    const { state: _state, ...shape } = filterShape();
    const { of, ...values } = readQuery(c, { ...shape, of: choiceField(groupedOver) });
    const over = of ?? 'dead_letters';
    const found = await readPage(sql, async (tx) => {
      const filter = await filterOf(tx, values);
      return listFailureGroups(tx, over, { ...filter, limit: shownGroups });
    });
    return answerPage(
      c,
      <FailuresPage
        access={c.get('access')}
        over={over}
        fields={{ of, ...fieldsOf(values) }}
        found={found}
      />,
    );
  });
  return app;
}
