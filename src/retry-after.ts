/** The Retry-After header, in seconds or as a date (RFC 9110 section 10.2.3). */

const minMs = 1_000;
const maxMs = 60 * 60_000;

/** Milliseconds to wait from `now`, from one second to one hour; undefined for a missing or invalid header. */
export function parseRetryAfter(header: string | null | undefined, now: Date): number | undefined {
  const text = header?.trim() ?? '';
  if (text === '') return undefined;
  return boundedRetryMs(
    /^\d+(\.\d+)?$/.test(text) ? Number(text) * 1000 : Date.parse(text) - now.getTime(),
  );
}

/** Applies the same bounds to a wait in milliseconds. */
export function boundedRetryMs(waitMs: number | undefined): number | undefined {
  if (waitMs === undefined || Number.isNaN(waitMs)) return undefined;
  return Math.ceil(Math.min(Math.max(waitMs, minMs), maxMs));
}
