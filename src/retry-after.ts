/** RFC 9110 section 10.2.3: a Retry-After header says seconds, or a date. */

const minMs = 1_000;
const maxMs = 60 * 60_000;

/** Milliseconds to wait from `now`, at least one second and at most one hour; undefined for what is neither. */
export function parseRetryAfter(header: string | null | undefined, now: Date): number | undefined {
  const text = header?.trim() ?? '';
  if (text === '') return undefined;
  return boundedRetryMs(
    /^\d+(\.\d+)?$/.test(text) ? Number(text) * 1000 : Date.parse(text) - now.getTime(),
  );
}

/** The same bounds for a wait that is said in milliseconds. */
export function boundedRetryMs(waitMs: number | undefined): number | undefined {
  if (waitMs === undefined || Number.isNaN(waitMs)) return undefined;
  return Math.ceil(Math.min(Math.max(waitMs, minMs), maxMs));
}
