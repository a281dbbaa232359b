/** The form that replays a dead letter with another payload. */
import type { JobRecord } from '../../../../jobs/inspect.ts';
import type { Access } from '../../../web-env.ts';
import { ActForm } from '../../parts/act-form.tsx';

/** Of a form as it is sent, in which quotes take three bytes each. */
const maxSentBytes = 60_000;

export function EditForm({ access, job }: { readonly access: Access; readonly job: JobRecord }) {
  const text = JSON.stringify(job.payload, null, 2);
  if (encodeURIComponent(text).length > maxSentBytes) {
    return (
      <p class="quiet">
        The payload is too long to be edited here:{' '}
        <code>purser dlq edit {job.jobId} --payload FILE --reason TEXT</code>
      </p>
    );
  }
  return (
    <details>
      <summary>Replay with another payload</summary>
      <ActForm
        access={access}
        action={`/jobs/${job.jobId}/edit`}
        label="Replay with this payload"
        of={`job ${job.jobId}`}
      >
        <label class="wide">
          Payload, a JSON object; "[secret]" keeps the value of a secret field
          <textarea name="payload" rows={12} required spellcheck={false}>
            {text}
          </textarea>
        </label>
      </ActForm>
    </details>
  );
}
