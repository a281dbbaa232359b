/** What an operator may do with the job as it stands. */
import { terminalStates } from '../../../../jobs/states.ts';
import type { JobRecord } from '../../../../jobs/inspect.ts';
import type { DeadLetterRecord } from '../../../../operations/failures/dead-letter.ts';
import { hasRole } from '../../../../operations/operators/roles.ts';
import type { Access } from '../../../web-env.ts';
import { ActForm } from '../../parts/act-form.tsx';
import { EditForm } from './edit-form.tsx';

export interface ActsProps {
  readonly access: Access;
  readonly job: JobRecord;
  readonly letter: DeadLetterRecord | undefined;
}

export function Acts({ access, job, letter }: ActsProps) {
  if (!hasRole(access.role, 'operator')) return null;
  const { jobId, state } = job;
  if (!terminalStates.includes(state)) {
    return (
      <section class="acts" aria-label="Acts">
        <ActForm
          access={access}
          action={`/jobs/${jobId}/cancel`}
          label="Cancel"
          of={`job ${jobId}`}
          isDanger
          question={`Cancel job ${jobId}? It does not run again.`}
        />
      </section>
    );
  }
  // A cancelled job can be replayed too.
  const isListed = letter?.standing === 'listed';
  if (!isListed && (state !== 'cancelled' || job.replayedBy !== null)) return null;
  return (
    <section class="acts" aria-label="Acts">
      <ActForm
        access={access}
        action={`/jobs/${jobId}/replay`}
        label="Replay"
        of={`job ${jobId}`}
        reason="optional"
      />
      <EditForm access={access} job={job} />
      {isListed ? (
        <ActForm
          access={access}
          action={`/jobs/${jobId}/discard`}
          label="Discard"
          of={`job ${jobId}`}
          isDanger
          question={`Discard job ${jobId}? It leaves the list of dead letters.`}
        />
      ) : null}
    </section>
  );
}
