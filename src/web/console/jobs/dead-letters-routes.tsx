/** /dead-letters: those that are neither replayed nor discarded, newest first. */
import { Hono } from 'hono';
import { z } from 'zod';
import type { Sql } from '../../../db/connect.ts';
import { countDeadLetters, listDeadLetters } from '../../../jobs/dead-letters.ts';
import { quickCount, readPage } from '../../../jobs/search/whole-page.ts';
import { requireRole } from '../../access/route-rules.ts';
import type { WebEnv } from '../../web-env.ts';
import { answerPage } from '../layout.tsx';
import { readQuery } from '../parts/form.ts';
import { DeadLettersPage } from './dead-letters-page.tsx';
import { fieldsOf, filterOf, filterShape } from './filter.ts';

const pageSize = 50;

export function createDeadLetters({ sql }: { readonly sql: Sql }): Hono<WebEnv> {
  const app = new Hono<WebEnv>();
  app.get('/dead-letters', requireRole('viewer'), async (c) => {
    const { state: _state, ...shape } = filterShape();
    const { before, ...values } = readQuery(c, { ...shape, before: z.string().optional() });
    const { letters, isCut, count } = await readPage(sql, async (tx) => {
      const filter = await filterOf(tx, values);
      const rows = await listDeadLetters(tx, { ...filter, limit: pageSize + 1, before });
      const isCut = rows.length > pageSize;
      const letters = rows.slice(0, pageSize);
      const isAll = !isCut && before === undefined;
      const counted = isAll
        ? letters.length
        : await quickCount(tx, (part) => countDeadLetters(part, filter));
      return { letters, isCut, count: counted };
    });
    return answerPage(
      c,
      <DeadLettersPage
        access={c.get('access')}
        fields={fieldsOf(values)}
        letters={letters}
        count={count}
        next={isCut ? letters.at(-1)?.cursor : undefined}
        isLater={before !== undefined}
      />,
    );
  });
  return app;
}
