/**
 * The answer to a change that Bull Board may not make: the reason, and the page and the command that make it. Queue
 * entries are copies of rows; an entry that is changed here is dispatched again or lost.
 */
import { deadLetterQueue, jobOfDeadLetterEntry } from '../../queues/dead-letter-mirror.ts';

export interface Refusal {
  readonly message: string;
  readonly command: string;
  /** Of the console. */
  readonly page: string;
}

type WithoutPage = Omit<Refusal, 'page'>;

/** Decoded parts of the request's path; `action` is the part after the queue or the entry. */
interface BullBoardAction {
  readonly queue: string | undefined;
  readonly entry: string | undefined;
  readonly action: string;
}

/** Actions on a whole queue. Some paths have one more part (a status, a name). */
const queueActions = new Set([
  'add',
  'retry',
  'promote',
  'clean',
  'pause',
  'resume',
  'concurrency',
  'rate-limit',
  'empty',
  'obliterate',
  'job-schedulers',
]);

function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

/** `path` is the part of the request's path after `/api/`. */
function readPath(path: string): BullBoardAction {
  const [area, queue, third, fourth] = path.split('/').map(decoded);
  if (area !== 'queues' || queue === undefined) {
    return { queue: undefined, entry: undefined, action: '' };
  }
  if (third === undefined) return { queue: undefined, entry: undefined, action: queue };
  return queueActions.has(third)
    ? { queue, entry: undefined, action: third }
    : { queue, entry: third, action: fourth ?? '' };
}

function onDeadLetter({ entry, action }: BullBoardAction): WithoutPage {
  const jobId = (entry === undefined ? undefined : jobOfDeadLetterEntry(entry)) ?? 'ID';
  if (['clean', 'empty', 'obliterate'].includes(action)) {
    return {
      message: 'Discarding a dead letter needs a reason, which is recorded.',
      command: `purser dlq discard ${jobId} --reason TEXT`,
    };
  }
  if (['retry', 'promote'].includes(action)) {
    return {
      message: 'A dead letter is replayed as a new job, which is recorded with its operator.',
      command: `purser dlq replay ${jobId}`,
    };
  }
  return {
    message: 'A dead letter is a record and cannot be edited.',
    command: `purser jobs show ${jobId}`,
  };
}

/** The data of an entry names its jobs; its id does not. */
function onEntry({ action }: BullBoardAction): WithoutPage {
  if (action === 'retry') {
    return {
      message: 'The scheduler retries failed jobs; a job without attempts left is a dead letter.',
      command: 'purser dlq replay ID',
    };
  }
  return {
    message: 'An entry follows its jobs in the database and cannot be changed here.',
    command: 'purser jobs show ID',
  };
}

function onQueue({ queue, action }: BullBoardAction): WithoutPage {
  switch (action) {
    case 'add': {
      const jobType = /^[a-z][a-z0-9_]*$/.test(queue ?? '') ? queue : 'TYPE';
      return {
        message: 'A new job is inserted into the database, not into a queue.',
        command: `purser enqueue ${jobType} --tenant TENANT`,
      };
    }
    case 'retry':
    case 'promote':
      return {
        message: 'The scheduler retries failed jobs; jobs without attempts left are dead letters.',
        command: 'purser dlq list',
      };
    case 'clean':
    case 'empty':
    case 'obliterate':
      return {
        message:
          'Finished entries are removed automatically; all others would be dispatched again.',
        command: 'purser jobs list',
      };
    case 'pause':
    case 'resume':
    case 'concurrency':
    case 'rate-limit':
      return {
        message: 'The number of workers and WORKER_CONCURRENCY decide how many jobs run at once.',
        command: 'purser start worker',
      };
    case 'job-schedulers':
      return {
        message: "Schedules follow from a tenant's plan and activity.",
        command: 'purser tenants set-plan TENANT PLAN',
      };
    default:
      return { message: 'Bull Board is read-only here.', command: 'purser --help' };
  }
}

/** `path` is the part of the request's path after Bull Board's `/api/`. */
export function refusalOf(path: string): Refusal {
  const action = readPath(path);
  if (action.queue === deadLetterQueue) return { ...onDeadLetter(action), page: '/dead-letters' };
  const [refusal, page] =
    action.entry === undefined ? [onQueue(action), '/'] : [onEntry(action), '/jobs'];
  return { ...refusal, page: refusal.command.startsWith('purser dlq ') ? '/dead-letters' : page };
}
