/**
 * The login of browsers, and its end. A login always starts a session with a new token, whatever cookie came with it; it
 * leads to a page of this host only.
 */
import { randomBytes } from 'node:crypto';
import { Hono } from 'hono';
import type { Context } from 'hono';
import type { Sql } from '../../db/connect.ts';
import type { Logger } from '../../log.ts';
import { closeSession, findSession, startSession } from '../../operations/operators/sessions.ts';
import { requireSameOrigin } from '../access/browser-rules.ts';
import { readCookie, removeCookie, writeCookie } from '../access/cookies.ts';
import { checkCsrf, csrfTokenOf, requireCsrf } from '../access/csrf.ts';
import { newDevice } from '../access/device-cookie.ts';
import type { Credentials } from '../access/environment-login.ts';
import { localPath } from '../access/local-path.ts';
import type { LogIn } from '../access/log-in.ts';
import { forEverybody, requireRole } from '../access/route-rules.ts';
import type { WebEnv } from '../web-env.ts';
import { answerPage } from './layout.tsx';
import { LoginPage } from './pages/login-page.tsx';

export interface LoginRoutesOptions {
  readonly sql: Sql;
  readonly credentials: Credentials;
  readonly logIn: LogIn;
  readonly log: Logger;
}

const deviceDays = 90;

interface Shown {
  readonly next: string;
  readonly fault?: string;
  readonly status?: 401 | 403 | 429;
}

/** With a new secret for its form, of which the browser has the cookie. */
function showLogin(c: Context<WebEnv>, { next, fault, status }: Shown) {
  const secret = readCookie(c, 'purser_login') ?? randomBytes(32).toString('base64url');
  writeCookie(c, 'purser_login', secret);
  return answerPage(
    c,
    <LoginPage csrf={csrfTokenOf(secret)} next={next} fault={fault} />,
    status ?? 200,
  );
}

const textOf = (value: unknown): string => (typeof value === 'string' ? value : '');

/** Routes before the login: the page and its form. */
export function createLogin(options: LoginRoutesOptions): Hono<WebEnv> {
  const { sql, logIn, log } = options;
  const app = new Hono<WebEnv>();
  app.get('/login', forEverybody(), (c) => showLogin(c, { next: localPath(c.req.query('next')) }));
  app.post('/login', forEverybody(), requireSameOrigin(), async (c) => {
    const form = await c.req.parseBody();
    const next = localPath(textOf(form['next']));
    const secret = readCookie(c, 'purser_login');
    if (secret === undefined) {
      const fault = 'The browser sent no cookie: allow cookies of this site, and try again.';
      return showLogin(c, { next, fault, status: 403 });
    }
    await checkCsrf(c, csrfTokenOf(secret));
    const user = textOf(form['user']);
    const checked = await logIn.check(c, { user, password: textOf(form['password']) });
    if (checked.outcome === 'too_many') {
      const seconds = checked.retryAfterSeconds;
      c.header('Retry-After', String(seconds));
      const fault = `Too many logins at once; try again in ${seconds} s. Open sessions go on.`;
      return showLogin(c, { next, fault, status: 429 });
    }
    const address = logIn.clientAddress(c);
    const browser = c.req.header('user-agent') ?? '';
    const token =
      checked.outcome === 'matches'
        ? await startSession(sql, { operator: user, proof: checked.proof, address, browser })
        : undefined;
    if (checked.outcome !== 'matches' || token === undefined) {
      return showLogin(c, { next, fault: 'The name or the password is wrong.', status: 401 });
    }
    await endEarlierSession(c, options);
    const { proof } = checked;
    const deviceSecret = 'user' in proof ? proof.password : proof.passwordHash;
    writeCookie(c, 'purser_session', token);
    writeCookie(c, 'purser_device', newDevice(deviceSecret, user), deviceDays * 86_400);
    removeCookie(c, 'purser_login');
    log.info({ operator: user, address }, 'logged_in');
    return c.redirect(next, 303);
  });
  return app;
}

/** Of this browser: a login replaces it. */
async function endEarlierSession(
  c: Context<WebEnv>,
  { sql, credentials }: LoginRoutesOptions,
): Promise<void> {
  const earlier = readCookie(c, 'purser_session');
  if (earlier === undefined) return;
  const session = await findSession(sql, earlier, credentials);
  if (session !== undefined) await closeSession(sql, session.id);
}

/** Behind the login. */
export function createLogout({ sql, log }: LoginRoutesOptions): Hono<WebEnv> {
  const app = new Hono<WebEnv>();
  app.post('/logout', requireRole('viewer', { checksLimits: true }), requireCsrf(), async (c) => {
    const { operator, sessionId } = c.get('access');
    if (sessionId !== undefined) {
      await closeSession(sql, sessionId);
      log.info({ operator: operator.name }, 'logged_out');
    }
    removeCookie(c, 'purser_session');
    return c.redirect('/login', 303);
  });
  return app;
}
