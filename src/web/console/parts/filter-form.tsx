/** The form of a list's filter. It is sent as a query, so that the address of what it shows can be kept. */
import type { Fields } from './pager.tsx';

export interface FilterField {
  readonly name: string;
  readonly label: string;
  /** A choice among these, or any text. */
  readonly options?: readonly string[];
  /** What no choice means. Default `any`. */
  readonly without?: string;
  readonly placeholder?: string;
  /** Search boxes are wider. */
  readonly isWide?: boolean;
  /** `month` and the like. Default `text`. */
  readonly type?: string;
}

export interface FilterFormProps {
  readonly path: string;
  readonly fields: readonly FilterField[];
  readonly values: Fields;
  /** Of the button. */
  readonly label?: string;
}

const textOf = (values: Fields, name: string): string => String(values[name] ?? '');

function Choice({ field, value }: { readonly field: FilterField; readonly value: string }) {
  return (
    <select name={field.name}>
      <option value="">{field.without ?? 'any'}</option>
      {(field.options ?? []).map((option) => (
        <option value={option} selected={option === value}>
          {option.replaceAll('_', ' ')}
        </option>
      ))}
    </select>
  );
}

export function FilterForm({ path, fields, values, label = 'Show' }: FilterFormProps) {
  const isFiltered = fields.some(({ name }) => textOf(values, name) !== '');
  return (
    <form class="filter" method="get" action={path} role="search" aria-label="Filter">
      {fields.map((field) => (
        <label class={field.isWide === true ? 'wide' : undefined}>
          {field.label}
          {field.options === undefined ? (
            <input
              name={field.name}
              type={field.type ?? 'text'}
              value={textOf(values, field.name)}
              placeholder={field.placeholder}
              autocapitalize="none"
              autocomplete="off"
              spellcheck={false}
            />
          ) : (
            <Choice field={field} value={textOf(values, field.name)} />
          )}
        </label>
      ))}
      <button type="submit">{label}</button>
      {isFiltered ? <a href={path}>Clear</a> : null}
    </form>
  );
}
