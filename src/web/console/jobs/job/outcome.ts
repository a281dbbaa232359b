/** What was done with a job, as the address of its page says it. */
export const outcomes = [
  'cancelled',
  'requested',
  'ended',
  'replayed',
  'replayed_before',
  'discarded',
  'edited',
] as const;

export type Outcome = (typeof outcomes)[number];

export const outcomeTexts: Readonly<Record<Outcome, string>> = {
  cancelled: 'The job is cancelled.',
  requested: 'The job runs; its worker was asked to stop it.',
  ended: 'The job had ended before, and was not cancelled.',
  replayed: 'This new job runs the dead letter again.',
  replayed_before: 'The dead letter was replayed before, by this job.',
  edited: 'This new job runs the dead letter again, with the other payload.',
  discarded: 'The dead letter is discarded: it is on no list any more.',
};
