/**
 * The cookies of the web role: HttpOnly, SameSite=Strict, and behind https Secure with the prefix __Host-, under which no
 * other host of the domain can set one.
 */
import type { Context } from 'hono';
import { deleteCookie, getCookie, setCookie } from 'hono/cookie';
import type { WebEnv } from '../web-env.ts';

export type CookieName = 'purser_session' | 'purser_device' | 'purser_login';

/**
 * Whether the browser sees https. Any client may claim it: that makes its own cookies stricter and nothing else, so
 * the header of a router that is no trusted proxy counts too.
 */
function isSecure(c: Context<WebEnv>): boolean {
  const forwarded = (c.req.header('x-forwarded-proto') ?? '').split(',').at(-1)?.trim();
  const encrypted = new URL(c.req.url).protocol === 'https:';
  const origin = c.req.header('origin') ?? '';
  return encrypted || forwarded?.toLowerCase() === 'https' || origin.startsWith('https://');
}

/** Behind https only the cookie with the prefix counts. */
export function readCookie(c: Context<WebEnv>, name: CookieName): string | undefined {
  const prefixed = getCookie(c, name, 'host');
  return prefixed ?? (isSecure(c) ? undefined : getCookie(c, name));
}

/** Without `maxAgeSeconds` it ends with the browser. */
export function writeCookie(
  c: Context<WebEnv>,
  name: CookieName,
  value: string,
  maxAgeSeconds?: number,
): void {
  const secure = isSecure(c);
  setCookie(c, name, value, {
    path: '/',
    httpOnly: true,
    sameSite: 'Strict',
    secure,
    ...(secure ? { prefix: 'host' as const } : {}),
    ...(maxAgeSeconds === undefined ? {} : { maxAge: maxAgeSeconds }),
  });
}

export function removeCookie(c: Context<WebEnv>, name: CookieName): void {
  const secure = isSecure(c);
  deleteCookie(c, name, { path: '/', secure, ...(secure ? { prefix: 'host' as const } : {}) });
}
