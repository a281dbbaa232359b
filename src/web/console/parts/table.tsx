/** A table with its caption, in a region that scrolls by itself and by the keyboard where the screen is narrow. */
import type { Child } from 'hono/jsx';

export interface Column<Row> {
  readonly title: string;
  readonly cell: (row: Row) => Child;
  /** Right-aligned, with digits of one width. */
  readonly isNumber?: boolean;
  /** Names the row; at most one column. */
  readonly isHead?: boolean;
  /** The title is for those who hear the page only. */
  readonly isTitleHidden?: boolean;
}

export interface TableProps<Row> {
  /** The name of the region. */
  readonly label: string;
  readonly caption?: Child;
  readonly columns: readonly Column<Row>[];
  readonly rows: readonly Row[];
  /** Instead of a table without rows. */
  readonly empty: Child;
}

const classOf = ({ isNumber }: { readonly isNumber?: boolean }): string | undefined =>
  isNumber === true ? 'number' : undefined;

export function Table<Row>({ label, caption, columns, rows, empty }: TableProps<Row>) {
  if (rows.length === 0) return <p class="empty">{empty}</p>;
  return (
    <div class="scrolls" tabindex={0} role="region" aria-label={label}>
      <table>
        {caption === undefined ? null : <caption>{caption}</caption>}
        <thead>
          <tr>
            {columns.map((column) => (
              <th scope="col" class={classOf(column)}>
                {column.isTitleHidden === true ? (
                  <span class="heard">{column.title}</span>
                ) : (
                  column.title
                )}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr>
              {columns.map((column) =>
                column.isHead === true ? (
                  <th scope="row" class={classOf(column)}>
                    {column.cell(row)}
                  </th>
                ) : (
                  <td class={classOf(column)}>{column.cell(row)}</td>
                ),
              )}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
