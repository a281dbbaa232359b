/**
 * Why a job does not run, as a list of causes of which the first is the one to lift first. The codes are stable; the
 * order is that of `causeCodes`.
 */

/**
 * What an operator decided comes first, since nothing else matters while it stands; then what moves no job at all while
 * it is missing; then what holds the job itself (money, its time); then what its next step needs (a worker, room); then
 * its turn.
 */
export const causeCodes = [
  'completed',
  'dead_letter',
  'cancelled',
  'paused',
  'no_scheduler',
  'queue_store_away',
  'llm_stopped',
  'llm_circuit_open',
  'budget',
  'parked_by_handler',
  'waking',
  'upload',
  'fair_use',
  'backoff',
  'snoozed',
  'later',
  'no_worker',
  'workers_draining',
  'no_worker_for_type',
  'limit_running',
  'limit_starts',
  'worker_silent',
  'running',
  'suspect',
  'queued',
  'turn',
  'nothing_waits',
] as const;

export type CauseCode = (typeof causeCodes)[number];

export interface Cause {
  readonly code: CauseCode;
  /** A sentence for people, without a stop at its end. */
  readonly says: string;
  /** The command that lifts it; null where only time does, or nothing is to be lifted. */
  readonly lift: string | null;
  /** Figures, names and times by stable names; times in ISO 8601. */
  readonly facts: Readonly<Record<string, unknown>>;
}

/** The one to lift first is the first; causes of one code keep their order. */
export function inOrder(causes: readonly Cause[]): Cause[] {
  const place = ({ code }: Cause): number => causeCodes.indexOf(code);
  return causes.toSorted((a, b) => place(a) - place(b));
}

/** A length of time for people: `850 ms` is `0.9 s`. */
export function lengthText(ms: number): string {
  const seconds = Math.max(0, ms) / 1_000;
  if (seconds < 10) return `${Number(seconds.toFixed(1))} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7_200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172_800
    ? `${Math.round(seconds / 3_600)} h`
    : `${Math.round(seconds / 86_400)} days`;
}

/** Lists names, the first `most` of them. */
export function namesText(names: readonly string[], most = 10): string {
  const more = names.length - most;
  return `${names.slice(0, most).join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}
