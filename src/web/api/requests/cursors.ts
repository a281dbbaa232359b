/**
 * Places in a list as opaque text. A cursor names the last row of the page before by what the list is ordered by, so that
 * rows that come or go meanwhile move no other.
 */
import { PurserError } from '../../../errors.ts';

/** Of which list: a cursor of another one is refused. */
export type ListName =
  | 'jobs'
  | 'dead_letters'
  | 'tenants'
  | 'budgets'
  | 'llm_calls'
  | 'audit'
  | 'batches';

export const maxCursorLength = 1_000;

const cursorOf = (list: ListName, place: string): string =>
  Buffer.from(JSON.stringify([list, place])).toString('base64url');

/** Throws `invalid_cursor` (400). `isPlace` checks what the list is ordered by. */
export function placeOf(
  list: ListName,
  cursor: string | undefined,
  isPlace: (place: string) => boolean,
): string | undefined {
  if (cursor === undefined) return undefined;
  const place = read(list, cursor);
  if (place === undefined || !isPlace(place)) {
    throw new PurserError(
      'invalid_cursor',
      'the cursor is none of this list; begin anew without it',
      {
        status: 400,
      },
    );
  }
  return place;
}

function read(list: ListName, cursor: string): string | undefined {
  if (cursor.length > maxCursorLength || !/^[\w-]+$/.test(cursor)) return undefined;
  try {
    const text = Buffer.from(cursor, 'base64url').toString();
    const found: unknown = JSON.parse(text);
    if (!Array.isArray(found) || found.length !== 2) return undefined;
    const [, place]: unknown[] = found;
    // Written as we would write it: one text for each place.
    const isOurs = typeof place === 'string' && cursorOf(list, place) === cursor;
    return isOurs ? place : undefined;
  } catch {
    return undefined;
  }
}

export interface Page<T> {
  readonly items: readonly T[];
  /** null: the last page. */
  readonly next: string | null;
}

/** Of `limit` + 1 rows that were read, the page, and the cursor of the next one where there is one. */
export function pageOf<T>(
  list: ListName,
  rows: readonly T[],
  limit: number,
  placeOfRow: (row: T) => string,
): Page<T> {
  const items = rows.slice(0, limit);
  const last = items.at(-1);
  const hasMore = rows.length > limit && last !== undefined;
  return { items, next: hasMore ? cursorOf(list, placeOfRow(last)) : null };
}
