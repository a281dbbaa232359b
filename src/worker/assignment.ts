/** One attempt on its way through an executor: who waits for its end, and the clocks that run for it. */
import type { AttemptEnd, BegunAttempt } from '../jobs/attempts.ts';
import type { JobTypeFacts } from './executor-protocol.ts';

export interface Assignment {
  readonly attempt: BegunAttempt;
  readonly facts: JobTypeFacts;
  /** Aborts at the deadline, and when the worker lets go of the job. */
  readonly controller: AbortController;
  /** Ends it; only the first end counts. */
  readonly settle: (end: AttemptEnd) => void;
  /** Of the executor that it was given to last. */
  place: number;
  started: boolean;
  /** The deadline while it runs; the end of the grace once it was told to stop. */
  timer: NodeJS.Timeout | undefined;
}

export function createAssignment(
  attempt: BegunAttempt,
  facts: JobTypeFacts,
  controller: AbortController,
): { readonly assignment: Assignment; readonly end: Promise<AttemptEnd> } {
  let settle: (end: AttemptEnd) => void = () => {};
  const end = new Promise<AttemptEnd>((resolve) => {
    settle = resolve;
  });
  const assignment: Assignment = {
    attempt,
    facts,
    controller,
    place: 0,
    started: false,
    timer: undefined,
    settle: (value) => {
      clearTimeout(assignment.timer);
      settle(value);
    },
  };
  return { assignment, end };
}
