/** The way from a filter to the preview of a batch over it. It writes the members, so it is a form that is sent. */
import type { Access } from '../../web-env.ts';
import { hasRole } from '../../../operations/operators/roles.ts';
import { maxMembers } from '../../../operations/batches/preview.ts';
import { ActForm } from '../parts/act-form.tsx';
import type { Fields } from '../parts/pager.tsx';

export interface PreviewFormProps {
  readonly access: Access;
  readonly fields: Fields;
  readonly acts: readonly ('replay' | 'discard' | 'cancel')[];
}

export function PreviewForm({ access, fields, acts }: PreviewFormProps) {
  if (!hasRole(access.role, 'operator') || acts.length === 0) return null;
  const given = Object.entries(fields).filter(([, value]) => value !== undefined && value !== '');
  return (
    <ActForm
      access={access}
      action="/batches"
      label="Preview a batch"
      reason="none"
      hidden={Object.fromEntries(given.map(([name, value]) => [name, String(value)]))}
    >
      <label>
        All of these
        <select name="act">
          {acts.map((act) => (
            <option value={act}>{act}</option>
          ))}
        </select>
      </label>
      <label>
        At most (empty: all)
        <input name="limit" type="number" min="1" max={maxMembers} />
      </label>
    </ActForm>
  );
}
