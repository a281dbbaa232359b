/** Where a browser goes after the login: a page of this host, whatever the address says. */

const fallback = '/';
/** No host, which `//` and `/\` begin, and nothing that a browser drops or that ends a header. */
const local = /^\/(?![/\\])[^\\\p{Cc}]*$/u;
const base = 'http://local.invalid';

/** The path with its query, or `/` for anything that is no path of this host or is the login itself. */
export function localPath(next: string | undefined): string {
  if (next === undefined || next.length > 2_000 || !local.test(next)) return fallback;
  if (!URL.canParse(next, base)) return fallback;
  const { origin, pathname, search } = new URL(next, base);
  if (origin !== base || pathname.startsWith('//')) return fallback;
  return /^\/(login|logout)\b/.test(pathname) ? fallback : pathname + search;
}

export const loginPath = (next: string): string => {
  const path = localPath(next);
  return path === fallback ? '/login' : `/login?next=${encodeURIComponent(path)}`;
};
