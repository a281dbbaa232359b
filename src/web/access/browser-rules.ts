/**
 * What browsers may do with these pages: load nothing from other hosts, show them in no frame, cache no
 * data, and send changes from these pages only.
 */
import { PurserError } from '../../errors.ts';
import { createMiddleware } from 'hono/factory';
import { secureHeaders } from 'hono/secure-headers';
import type { MiddlewareHandler } from 'hono';

const nothing = ["'none'"];
const ownHost = ["'self'"];

const headersWith = (styleSrc: string[]): MiddlewareHandler =>
  secureHeaders({
    contentSecurityPolicy: {
      defaultSrc: nothing,
      scriptSrc: ownHost,
      workerSrc: ownHost,
      styleSrc,
      imgSrc: ["'self'", 'data:'],
      fontSrc: ownHost,
      connectSrc: ownHost,
      baseUri: ownHost,
      formAction: ownHost,
      frameAncestors: nothing,
    },
    // Without includeSubDomains: the other hosts of the domain are not part of Purser.
    strictTransportSecurity: 'max-age=15552000',
    xFrameOptions: 'DENY',
    // With no-referrer browsers would send forms with the origin `null`.
    referrerPolicy: 'same-origin',
  });

/** Scripts and styles come from files only; Bull Board, below `boardPath`, also sets style attributes. */
export function securityHeaders(boardPath: string): MiddlewareHandler {
  const pages = headersWith(ownHost);
  const board = headersWith(["'self'", "'unsafe-inline'"]);
  return (c, next) => {
    const isBoard = c.req.path === boardPath || c.req.path.startsWith(`${boardPath}/`);
    return (isBoard ? board : pages)(c, next);
  };
}

/** Files with a hash in their name may be cached; everything else is live data. */
export const cachePolicy = (...staticPrefixes: readonly string[]): MiddlewareHandler =>
  createMiddleware(async (c, next) => {
    await next();
    const isStatic = staticPrefixes.some((prefix) => c.req.path.startsWith(prefix));
    const keep = isStatic && c.res.status === 200;
    c.res.headers.set('Cache-Control', keep ? 'private, max-age=86400' : 'no-store');
  });

export const isReading = (method: string): boolean => method === 'GET' || method === 'HEAD';

/**
 * Refuses changes that no page of this host sent: browsers attach the login to every request, whatever page it
 * comes from. A bearer token is no such login. Only hosts are compared: behind a router this process sees http where the
 * browser sees https.
 */
export const requireSameOrigin = (): MiddlewareHandler =>
  createMiddleware(async (c, next) => {
    const hasBearer = /^bearer /i.test(c.req.header('authorization') ?? '');
    if (hasBearer || isReading(c.req.method)) return next();
    if (isSameOrigin((name) => c.req.header(name))) return next();
    throw new PurserError('cross_origin', 'changes are accepted from pages of this host only', {
      status: 403,
    });
  });

function isSameOrigin(header: (name: string) => string | undefined): boolean {
  const site = header('sec-fetch-site');
  if (site !== undefined && site !== 'same-origin') return false;
  const origin = header('origin');
  if (origin === undefined) return site === 'same-origin';
  return URL.canParse(origin) && new URL(origin).host === header('host');
}
