/** The form of an operator's act: a reason, further fields, and one button. The script asks again before it is sent. */
import type { Child } from 'hono/jsx';
import type { Access } from '../../web-env.ts';
import { CsrfField } from '../layout.tsx';
import { maxReasonLength } from './form.ts';

export interface ActFormProps {
  readonly access: Access;
  readonly action: string;
  /** Of the button. */
  readonly label: string;
  /** For those who hear the button without what stands around it, e.g. `job 7`. */
  readonly of?: string;
  readonly isDanger?: boolean;
  /** Default `required`. */
  readonly reason?: 'required' | 'optional' | 'none';
  readonly question?: string;
  readonly hidden?: Readonly<Record<string, string>>;
  /** Further fields, before the reason. */
  readonly children?: Child;
}

export function ActForm(props: ActFormProps) {
  const { access, action, label, of, isDanger, reason = 'required', question, hidden = {} } = props;
  return (
    <form class="act" method="post" action={action} data-confirm={question}>
      <CsrfField access={access} />
      {Object.entries(hidden).map(([name, value]) => (
        <input type="hidden" name={name} value={value} />
      ))}
      {props.children}
      {reason === 'none' ? null : (
        <label>
          {reason === 'required' ? 'Reason' : 'Reason (not required)'}
          <input
            name="reason"
            required={reason === 'required'}
            maxlength={maxReasonLength}
            autocomplete="off"
          />
        </label>
      )}
      <button
        type="submit"
        class={isDanger === true ? 'danger' : undefined}
        aria-label={of === undefined ? undefined : `${label} ${of}`}
      >
        {label}
      </button>
    </form>
  );
}
