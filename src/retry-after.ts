/** The Retry-After header, in seconds or as a date (RFC 9110 section 10.2.3). */

const minMs = 1_000;
const maxMs = 60 * 60_000;

/** Milliseconds to wait from `now`, from one second to one hour; undefined for a missing or invalid header. */
export function parseRetryAfter(header: string | null | undefined, now: Date): number | undefined {
  const text = header?.trim() ?? '';
  if (text === '') return undefined;
  if (/^\d+(\.\d+)?$/.test(text)) return boundedRetryMs(Number(text) * 1000);
  // An HTTP date begins with a weekday; Date.parse would also read "-5" as a date.
  return /^[a-z]/i.test(text) ? boundedRetryMs(Date.parse(text) - now.getTime()) : undefined;
}

/** Applies the same bounds to a wait in milliseconds. */
export function boundedRetryMs(waitMs: number | undefined): number | undefined {
  if (waitMs === undefined || Number.isNaN(waitMs)) return undefined;
  return Math.ceil(Math.min(Math.max(waitMs, minMs), maxMs));
}
