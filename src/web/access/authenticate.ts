/**
 * Who asks: the session of a browser's cookie, the bearer token of a program, or the login of the environment by HTTP
 * Basic. Every route behind this has an operator and a role.
 */
import type { Context } from 'hono';
import { createMiddleware } from 'hono/factory';
import { auth } from 'hono/utils/basic-auth';
import type { MiddlewareHandler } from 'hono';
import type { Sql } from '../../db/connect.ts';
import { PurserError } from '../../errors.ts';
import type { Operator } from '../../operations/audit.ts';
import { findSession } from '../../operations/operators/sessions.ts';
import { findToken } from '../../operations/operators/tokens.ts';
import { apiPath } from '../api/problems.ts';
import type { Access, WebEnv } from '../web-env.ts';
import { readCookie } from './cookies.ts';
import { csrfTokenOf } from './csrf.ts';
import type { Credentials } from './environment-login.ts';
import { loginPath } from './local-path.ts';
import type { LogIn } from './log-in.ts';

export interface AuthenticateOptions {
  readonly sql: Sql;
  readonly credentials: Credentials;
  readonly logIn: LogIn;
  /** The page that a browser shows which comes from another site, and so sends no cookie. */
  readonly revisit: (c: Context<WebEnv>) => Response | Promise<Response>;
}

const boardPath = /^\/queues(\/|$)/;

function doorOf(path: string): Operator['door'] {
  if (boardPath.test(path)) return 'board';
  return apiPath.test(path) ? 'api' : 'console';
}

/** Whether a person's browser asks for a page, and can be sent to the login. */
function wantsPage(c: Context<WebEnv>): boolean {
  if (c.req.method !== 'GET' || apiPath.test(c.req.path)) return false;
  const mode = c.req.header('sec-fetch-mode');
  if (mode !== undefined) return mode === 'navigate';
  return (c.req.header('accept') ?? '').includes('text/html');
}

/** Sets `access`, or answers: 401, 429 after too many wrong passwords, and to a browser the login page. */
export function authenticate(options: AuthenticateOptions): MiddlewareHandler<WebEnv> {
  return createMiddleware<WebEnv>(async (c, next) => {
    const found = await accessOf(c, options);
    if (found instanceof Response) return found;
    if (found === undefined) return refuse(c, options);
    c.set('access', found);
    await next();
    return undefined;
  });
}

async function accessOf(
  c: Context<WebEnv>,
  options: AuthenticateOptions,
): Promise<Access | Response | undefined> {
  const header = c.req.header('authorization');
  if (header === undefined) return accessOfSession(c, options);
  const bearer = /^bearer +(\S+)$/i.exec(header)?.[1];
  return bearer === undefined ? accessOfBasic(c, options) : accessOfToken(c, options, bearer);
}

async function accessOfSession(
  c: Context<WebEnv>,
  { sql, credentials }: AuthenticateOptions,
): Promise<Access | undefined> {
  const token = readCookie(c, 'purser_session');
  if (token === undefined) return undefined;
  const session = await findSession(sql, token, credentials);
  if (session === undefined) return undefined;
  const proof = session.ofEnvironment ? 'environment' : 'session';
  return {
    operator: { name: session.operator, proof, door: doorOf(c.req.path) },
    role: session.role,
    csrf: csrfTokenOf(token),
    sessionId: session.id,
  };
}

async function accessOfToken(
  c: Context<WebEnv>,
  { sql }: AuthenticateOptions,
  bearer: string,
): Promise<Access | undefined> {
  const token = await findToken(sql, bearer);
  if (token === undefined) return undefined;
  const { name, role, tenants, jobTypes } = token;
  const isLimited = tenants.length > 0 || jobTypes.length > 0;
  return {
    operator: { name, proof: 'token', door: doorOf(c.req.path) },
    role,
    ...(isLimited ? { limits: { tenants, jobTypes } } : {}),
  };
}

async function accessOfBasic(
  c: Context<WebEnv>,
  { credentials, logIn }: AuthenticateOptions,
): Promise<Access | Response | undefined> {
  const given = auth(c.req.raw);
  if (given === undefined) return undefined;
  const { username: user, password } = given;
  const checked = await logIn.checkEnvironment(c, { user, password });
  if (checked.outcome === 'too_many') {
    if (apiPath.test(c.req.path)) throw tooMany(checked.retryAfterSeconds);
    return c.text('Too many logins at once.\n', 429, {
      'Retry-After': String(checked.retryAfterSeconds),
    });
  }
  if (checked.outcome === 'wrong') return undefined;
  return {
    operator: { name: credentials.user, proof: 'environment', door: doorOf(c.req.path) },
    role: 'admin',
    csrf: csrfTokenOf(JSON.stringify(credentials)),
  };
}

const tooMany = (retryAfterSeconds: number): PurserError =>
  new PurserError('too_many_logins', 'too many logins at once; a token needs none', {
    status: 429,
    details: { retryAfterMs: retryAfterSeconds * 1_000 },
  });

function noLogin(c: Context<WebEnv>): PurserError {
  c.header('WWW-Authenticate', 'Bearer realm="Purser"');
  return new PurserError(
    'login_required',
    'send a token as Authorization: Bearer TOKEN (purser tokens add); this request has none, or one that has expired',
    { status: 401 },
  );
}

function refuse(
  c: Context<WebEnv>,
  { revisit }: AuthenticateOptions,
): Response | Promise<Response> {
  if (wantsPage(c) && c.req.header('authorization') === undefined) {
    // A cookie that is SameSite=Strict does not come with a link of another site; it does after a visit of our page.
    if (c.req.header('sec-fetch-site') === 'cross-site') return revisit(c);
    const { pathname, search } = new URL(c.req.url);
    return c.redirect(loginPath(pathname + search));
  }
  if (apiPath.test(c.req.path)) throw noLogin(c);
  // A page's own request would make the browser ask for a password in a window of its own.
  const fromPage = c.req.header('sec-fetch-site') !== undefined;
  return c.text(
    'Login required.\n',
    401,
    fromPage ? {} : { 'WWW-Authenticate': 'Basic realm="Purser", charset="UTF-8"' },
  );
}
