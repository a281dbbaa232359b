/**
 * What browsers may do with these pages: load nothing from other hosts, show them in no frame, cache no
 * data, and send changes from these pages only.
 */
import { createMiddleware } from 'hono/factory';
import { secureHeaders } from 'hono/secure-headers';
import type { MiddlewareHandler } from 'hono';

/** Bull Board sets style attributes; scripts come from files only. */
export const securityHeaders = (): MiddlewareHandler =>
  secureHeaders({
    contentSecurityPolicy: {
      defaultSrc: ["'none'"],
      scriptSrc: ["'self'"],
      workerSrc: ["'self'"],
      styleSrc: ["'self'", "'unsafe-inline'"],
      imgSrc: ["'self'", 'data:'],
      fontSrc: ["'self'"],
      connectSrc: ["'self'"],
      baseUri: ["'self'"],
      formAction: ["'self'"],
      frameAncestors: ["'none'"],
    },
    // Without includeSubDomains: the other hosts of the domain are not part of Purser.
    strictTransportSecurity: 'max-age=15552000',
    xFrameOptions: 'DENY',
  });

/** Files with a hash in their name may be cached; everything else is live data. */
export const cachePolicy = (staticPrefix: string): MiddlewareHandler =>
  createMiddleware(async (c, next) => {
    await next();
    const keep = c.req.path.startsWith(staticPrefix) && c.res.status === 200;
    c.res.headers.set('Cache-Control', keep ? 'private, max-age=86400' : 'no-store');
  });

export const isReading = (method: string): boolean => method === 'GET' || method === 'HEAD';

/**
 * Refuses changes that no page of this host sent: browsers attach the login to every request, whatever page it
 * comes from. Only hosts are compared: behind a router this process sees http where the browser sees https.
 */
export const requireSameOrigin = (): MiddlewareHandler =>
  createMiddleware(async (c, next) => {
    if (isReading(c.req.method) || isSameOrigin((name) => c.req.header(name))) return next();
    return c.json(
      { error: 'cross_origin', message: 'changes are accepted from pages of this host only' },
      403,
    );
  });

function isSameOrigin(header: (name: string) => string | undefined): boolean {
  const site = header('sec-fetch-site');
  if (site !== undefined && site !== 'same-origin') return false;
  const origin = header('origin');
  if (origin === undefined) return site === 'same-origin';
  return URL.canParse(origin) && new URL(origin).host === header('host');
}
