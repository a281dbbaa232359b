/** An act on one row of a table: its form opens behind its name, so that a row stays a row. */
import { ActForm } from './act-form.tsx';
import type { ActFormProps } from './act-form.tsx';

export function RowAct(props: ActFormProps & { readonly of: string }) {
  const { label, of } = props;
  return (
    <details class="row-act">
      <summary aria-label={`${label} ${of}`}>{label}</summary>
      <ActForm {...props} />
    </details>
  );
}
