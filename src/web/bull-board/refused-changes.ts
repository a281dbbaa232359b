/**
 * What the board answers to a change that it may not make: why, and the command that does it properly.
 * Entries are a picture of the table; changed here, they would only come back or go missing.
 */
import { deadLetterQueue, jobOfDeadLetterEntry } from '../../queues/dead-letter-mirror.ts';

export interface Refusal {
  readonly message: string;
  readonly command: string;
}

/** `queue` and `entry` are what the path named, decoded; the rest of the path is the action. */
interface BoardAction {
  readonly queue: string | undefined;
  readonly entry: string | undefined;
  readonly action: string;
}

/** Actions on a whole queue whose path goes on behind the word (a status, a name). */
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

/** `path` begins behind `/api/`. */
function readPath(path: string): BoardAction {
  const [area, queue, third, fourth] = path.split('/').map(decoded);
  if (area !== 'queues' || queue === undefined) {
    return { queue: undefined, entry: undefined, action: '' };
  }
  if (third === undefined) return { queue: undefined, entry: undefined, action: queue };
  return queueActions.has(third)
    ? { queue, entry: undefined, action: third }
    : { queue, entry: third, action: fourth ?? '' };
}

function onDeadLetter({ entry, action }: BoardAction): Refusal {
  const jobId = (entry === undefined ? undefined : jobOfDeadLetterEntry(entry)) ?? 'ID';
  if (['clean', 'empty', 'obliterate'].includes(action)) {
    return {
      message: 'A dead letter leaves the list with a reason, which is kept on record.',
      command: `purser dlq discard ${jobId} --reason TEXT`,
    };
  }
  if (['retry', 'promote'].includes(action)) {
    return {
      message: 'Dead letters are replayed one by one: open an entry, or use the command.',
      command: `purser dlq replay ${jobId}`,
    };
  }
  return {
    message: 'A dead letter is a record and is not edited.',
    command: `purser jobs show ${jobId}`,
  };
}

function onEntry({ entry, action }: BoardAction): Refusal {
  const jobId = /^([1-9]\d*)-\d+$/.exec(entry ?? '')?.[1] ?? 'ID';
  if (action === 'retry') {
    return {
      message: 'The scheduler retries by itself; a job that is out of attempts is a dead letter.',
      command: `purser dlq replay ${jobId}`,
    };
  }
  return {
    message: 'An entry follows its job in the database and is not changed here.',
    command: `purser jobs show ${jobId}`,
  };
}

function onQueue({ queue, action }: BoardAction): Refusal {
  switch (action) {
    case 'add': {
      const jobType = /^[a-z][a-z0-9_]*$/.test(queue ?? '') ? queue : 'TYPE';
      return {
        message: 'A job begins as a row in the database.',
        command: `purser enqueue ${jobType} --tenant TENANT`,
      };
    }
    case 'retry':
    case 'promote':
      return {
        message: 'The scheduler retries by itself; what is out of attempts is a dead letter.',
        command: 'purser dlq list',
      };
    case 'clean':
    case 'empty':
    case 'obliterate':
      return {
        message: 'Finished entries leave by themselves; the others would be dispatched again.',
        command: 'purser jobs list',
      };
    case 'pause':
    case 'resume':
    case 'concurrency':
    case 'rate-limit':
      return {
        message: 'How much runs at once is decided where workers are started and stopped.',
        command: 'purser start worker',
      };
    case 'job-schedulers':
      return {
        message: "Schedules follow from a tenant's plan and activity.",
        command: 'purser tenants set-plan TENANT PLAN',
      };
    default:
      return { message: 'The board shows and changes nothing.', command: 'purser --help' };
  }
}

/** `path` is the part of the request's path behind the board's `/api/`. */
export function boardRefusal(path: string): Refusal {
  const action = readPath(path);
  if (action.queue === deadLetterQueue) return onDeadLetter(action);
  return action.entry === undefined ? onQueue(action) : onEntry(action);
}
