/** /access: who may use the web role, for administrators, who end sessions and remove tokens here. */
import { Hono } from 'hono';
import type { Database } from '../../db/database.ts';
import { withLockTimeout } from '../../db/locks/lock-timeout.ts';
import { isStorable } from '../../names.ts';
import { listOperators } from '../../operations/operators/operators.ts';
import { endSessions, listSessions } from '../../operations/operators/sessions.ts';
import { listTokens, removeToken } from '../../operations/operators/tokens.ts';
import { requireCsrf } from '../access/csrf.ts';
import { requireRole } from '../access/route-rules.ts';
import type { WebEnv } from '../web-env.ts';
import { answerPage } from './layout.tsx';
import { AccessPage } from './pages/access-page.tsx';

const shownSessions = 100;

const textOf = (value: unknown): string =>
  typeof value === 'string' && isStorable(value) ? value : '';

export function createAccess(database: Pick<Database, 'system' | 'once'>): Hono<WebEnv> {
  const sql = database.system;
  const app = new Hono<WebEnv>();
  app.get('/access', requireRole('admin'), async (c) => {
    const [operators, sessions, tokens] = await Promise.all([
      listOperators(sql),
      listSessions(sql, { limit: shownSessions + 1 }),
      listTokens(sql),
    ]);
    return answerPage(
      c,
      <AccessPage
        access={c.get('access')}
        operators={operators}
        sessions={sessions.slice(0, shownSessions)}
        isCut={sessions.length > shownSessions}
        tokens={tokens}
      />,
    );
  });
  app.post('/access/end-session', requireRole('admin'), requireCsrf(), async (c) => {
    const { id } = await c.req.parseBody();
    const { operator } = c.get('access');
    await withLockTimeout(database, 'the end of a session', (tx) =>
      endSessions(tx, operator, { id: textOf(id) }),
    );
    return c.redirect('/access', 303);
  });
  app.post('/access/remove-token', requireRole('admin'), requireCsrf(), async (c) => {
    const { name } = await c.req.parseBody();
    const { operator } = c.get('access');
    await withLockTimeout(database, 'the removal of a token', (tx) =>
      removeToken(tx, operator, { name: textOf(name) }),
    );
    return c.redirect('/access', 303);
  });
  return app;
}
