/** The console: the pages of Purser itself, rendered by the server. */
import { Hono } from 'hono';
import type { Context } from 'hono';
import type { Database } from '../../db/database.ts';
import { localPath } from '../access/local-path.ts';
import { requireRole } from '../access/route-rules.ts';
import type { PayloadDoor } from '../payload-door.ts';
import type { WebEnv } from '../web-env.ts';
import { createAccess } from './access-routes.tsx';
import { createAudit } from './audit-routes.tsx';
import { createFleetPages } from './fleet/pages.ts';
import { createJobPages } from './jobs/pages.ts';
import { answerPage } from './layout.tsx';
import { createLive } from './live.ts';
import type { LiveOptions } from './live.ts';
import { createLogin, createLogout } from './login-routes.tsx';
import type { LoginRoutesOptions } from './login-routes.tsx';
import { createMoneyPages } from './money/pages.ts';
import { navigation } from './navigation.ts';
import { RevisitPage } from './pages/login-page.tsx';

export interface ConsoleOptions
  extends Omit<LoginRoutesOptions, 'sql'>, Pick<LiveOptions, 'stopping' | 'paces'> {
  readonly database: Database;
  readonly payloads: PayloadDoor;
}

/** Mount it before the login. */
export const createPublicPages = (options: LoginRoutesOptions): Hono<WebEnv> =>
  createLogin(options);

/** The page for a browser that a link of another site brought, and that sent no cookie. */
export function revisit(c: Context<WebEnv>): Response | Promise<Response> {
  const { pathname, search } = new URL(c.req.url);
  return answerPage(c, <RevisitPage path={localPath(pathname + search)} />);
}

/** Mount it after the login. */
export function createConsole(options: ConsoleOptions): Hono<WebEnv> {
  const { database } = options;
  const sql = database.system;
  const app = new Hono<WebEnv>();
  app.get('/', requireRole('viewer'), (c) => c.redirect(navigation[0].path));
  app.route('/', createLogout({ ...options, sql }));
  app.route('/', createJobPages(database, options.payloads));
  app.route('/', createFleetPages({ sql }));
  app.route('/', createMoneyPages({ sql }));
  app.route('/', createLive({ ...options, sql }));
  app.route('/', createAudit({ sql }));
  app.route('/', createAccess(database));
  return app;
}
