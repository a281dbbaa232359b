/** The refusal of a job by the limit of its tenant's backlog (SQLSTATE PU012), with its figures. */
import { codeOf, isError, PurserError } from '../../errors.ts';

const fallbackMs = 5_000;

/** What `error.details` of `backlog_full` has, besides its class. */
export interface BacklogFullDetails {
  readonly tenantId: string;
  readonly unit: 'jobs' | 'bytes';
  readonly limit: number;
  /** Enqueued and not begun, without what was asked for. */
  readonly have: number;
  readonly asked: number;
  /** Place of the first request without room, from 1, of `enqueueMany`. */
  readonly request?: number;
  /** A fixed hint. */
  readonly retryAfterMs: number;
}

/**
 * `backlog_full` (429) for an error PU012 of the database; undefined for others. A job that ends by it waits, and its
 * attempt does not count.
 */
export function asBacklogFull(error: unknown): PurserError | undefined {
  if (!isError(error) || codeOf(error) !== 'PU012') return undefined;
  const figures = figuresOf(Reflect.get(error, 'detail'));
  const hint: unknown = Reflect.get(error, 'hint');
  const text = error.message.replace('backlog_full: ', '');
  return new PurserError('backlog_full', typeof hint === 'string' ? `${text} (${hint})` : text, {
    status: 429,
    cause: error,
    details: { retryAfterMs: fallbackMs, ...figures, class: 'snooze' },
  });
}

function figuresOf(detail: unknown): object {
  if (typeof detail !== 'string') return {};
  try {
    const figures: unknown = JSON.parse(detail);
    return figures !== null && typeof figures === 'object' ? figures : {};
  } catch {
    return {};
  }
}
