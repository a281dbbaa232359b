/**
 * What a browser may do with these pages: load nothing from outside, show them in no frame, keep no copy
 * of data, and send changes from these pages only.
 */
import { createMiddleware } from 'hono/factory';
import { secureHeaders } from 'hono/secure-headers';
import type { MiddlewareHandler } from 'hono';

/** The board sets style attributes; scripts come from files only. */
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
    // The domain's other hosts are not ours to decide about.
    strictTransportSecurity: 'max-age=15552000',
    xFrameOptions: 'DENY',
  });

/** Files with a hash in their name may be kept; everything else shows live data. */
export const cachePolicy = (staticPrefix: string): MiddlewareHandler =>
  createMiddleware(async (c, next) => {
    await next();
    const keep = c.req.path.startsWith(staticPrefix) && c.res.status === 200;
    c.res.headers.set('Cache-Control', keep ? 'private, max-age=86400' : 'no-store');
  });

export const isReading = (method: string): boolean => method === 'GET' || method === 'HEAD';

/**
 * A browser sends the login along with every request, so a change has to prove that a page of this host
 * sent it. Only hosts are compared: behind a router this process sees http where the browser saw https.
 */
export const requireSameOrigin = (): MiddlewareHandler =>
  createMiddleware(async (c, next) => {
    if (isReading(c.req.method) || isSameOrigin((name) => c.req.header(name))) return next();
    return c.json(
      { error: 'cross_origin', message: 'a change has to come from a page of this host' },
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
