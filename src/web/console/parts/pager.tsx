/** Addresses of lists and their pages: a filter and a cursor make a stable one. */

/** Values of fields; those that are undefined or empty are left out. */
export type Fields = Readonly<Record<string, string | number | undefined>>;

/** `path?a=1&b=2`, in the order of the fields. */
export function address(path: string, fields: Fields): string {
  const given = Object.entries(fields).filter(([, value]) => value !== undefined && value !== '');
  const query = new URLSearchParams(
    given.map(([name, value]): [string, string] => [name, String(value)]),
  ).toString();
  return query === '' ? path : `${path}?${query}`;
}

export interface PagerProps {
  readonly path: string;
  /** Those of the filter. */
  readonly fields: Fields;
  /** The field of the cursor, and its value for the next page; undefined on the last page. */
  readonly cursor: string;
  readonly next: string | undefined;
  /** Whether this is not the first page. */
  readonly isLater: boolean;
  /** Of the link to the next page. */
  readonly label?: string;
}

export function Pager({ path, fields, cursor, next, isLater, label = 'Older' }: PagerProps) {
  if (next === undefined && !isLater) return null;
  return (
    <nav class="pager" aria-label="Pages of the list">
      {isLater ? <a href={address(path, fields)}>First page</a> : null}
      {next === undefined ? null : (
        <a href={address(path, { ...fields, [cursor]: next })} rel="next">
          {label}
        </a>
      )}
    </nav>
  );
}

/** Lists count so far: what is beyond is `10,000+`; undefined: it was not counted. */
export function countText(count: number | undefined, maxCounted: number): string {
  if (count === undefined) return 'many';
  return count > maxCounted ? `${numberText(maxCounted)}+` : numberText(count);
}

export const numberText = (value: number): string => value.toLocaleString('en-US');
