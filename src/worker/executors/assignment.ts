/** One attempt on its way through an executor: who waits for its end, and the clocks that run for it. */
import { JobTimeoutError } from '../../errors.ts';
import type { AttemptEnd, BegunAttempt } from '../../jobs/attempts.ts';
import type { JobTypeFacts } from './protocol.ts';

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
  const waiting: ((end: AttemptEnd) => void)[] = [];
  const end = new Promise<AttemptEnd>((resolve) => waiting.push(resolve));
  const assignment: Assignment = {
    attempt,
    facts,
    controller,
    place: 0,
    started: false,
    timer: undefined,
    settle: (value) => {
      clearTimeout(assignment.timer);
      for (const resolve of waiting) resolve(value);
    },
  };
  return { assignment, end };
}

/** It began: from now its type's timeout counts. */
export function startDeadline(assignment: Assignment): void {
  const { controller, facts } = assignment;
  assignment.started = true;
  if (controller.signal.aborted) return;
  assignment.timer = setTimeout(
    () => controller.abort(new JobTimeoutError(facts.type, facts.timeoutMs)),
    facts.timeoutMs,
  );
}
