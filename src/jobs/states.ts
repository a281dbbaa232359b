/**
 * The states of a job and the allowed transitions. A state is a table of the database (docs/architecture.md); a test
 * takes a random walk through every statement that moves a job and finds these transitions and no other.
 */

export const jobStates = [
  'pending',
  'queued',
  'running',
  'failed',
  'parked',
  'completed',
  'dead_letter',
  'cancelled',
] as const;

export type JobState = (typeof jobStates)[number];

export const transitions: Readonly<Record<JobState, readonly JobState[]>> = {
  pending: ['queued', 'dead_letter', 'cancelled'],
  // queued -> pending: the queue entry was lost. running -> pending: returned, without counting the attempt.
  queued: ['running', 'pending', 'dead_letter', 'cancelled'],
  running: ['completed', 'failed', 'parked', 'pending', 'dead_letter', 'cancelled'],
  failed: ['queued', 'dead_letter', 'cancelled'],
  parked: ['pending', 'dead_letter', 'cancelled'],
  completed: [],
  dead_letter: [],
  cancelled: [],
};

export const terminalStates: readonly JobState[] = jobStates.filter(
  (state) => transitions[state].length === 0,
);
