/**
 * Stands ahead of Bull Board, whose buttons act on BullMQ and know no user. Reading passes; retry and
 * promote on a dead letter become Purser's replay; every other change is refused with the right command.
 */
import { Hono } from 'hono';
import type { Context } from 'hono';
import type { Sql } from '../../db/connect.ts';
import { codeOf } from '../../errors.ts';
import { listDeadLetters, replayDeadLetter } from '../../jobs/dead-letters.ts';
import type { Logger } from '../../log.ts';
import {
  deadLetterQueue,
  jobOfDeadLetterEntry,
  mirrorDeadLetters,
  mirroredDeadLetters,
} from '../../queues/dead-letter-mirror.ts';
import type { Transport } from '../../queues/transport.ts';
import { boardRefusal } from './refusals.ts';
import { isReading } from '../browser-rules.ts';
import type { WebEnv } from '../web-env.ts';
import { within } from '../time-limit.ts';

export interface BoardGuardOptions {
  readonly sql: Sql;
  readonly transport: Transport;
  readonly log: Logger;
}

const mirrorMs = 2_000;

/** To be mounted where the board is, before it. */
export function createBoardGuard(options: BoardGuardOptions, boardPath: string): Hono<WebEnv> {
  const guard = new Hono<WebEnv>();
  guard.put(`/api/queues/${deadLetterQueue}/:entryId/:action{retry|promote}`, (c) =>
    replay(c, options, c.req.param('entryId')),
  );
  guard.use(async (c, next) => (isReading(c.req.method) ? next() : refuse(c, boardPath)));
  return guard;
}

function refuse(c: Context<WebEnv>, boardPath: string): Response {
  const prefix = `${boardPath}/api/`;
  const path = c.req.path.startsWith(prefix) ? c.req.path.slice(prefix.length) : '';
  const { message, command } = boardRefusal(path);
  // The board shows `error` and `message` to its user.
  return c.json(
    { error: 'Not from the board', message: `${message} Command: ${command}`, command },
    403,
  );
}

async function replay(
  c: Context<WebEnv>,
  options: BoardGuardOptions,
  entryId: string,
): Promise<Response> {
  const jobId = jobOfDeadLetterEntry(entryId);
  if (jobId === undefined) {
    return c.json(
      { error: 'not_a_dead_letter', message: 'no dead letter stands behind this entry' },
      404,
    );
  }
  const { sql, transport, log } = options;
  const who = c.get('operator');
  const replayed = await replayDeadLetter(sql, jobId, { operator: who, source: 'board' });
  log.info(
    { jobId, newJobId: replayed.jobId, created: replayed.created, who },
    'dead_letter_replayed',
  );
  try {
    await within(mirrorMs, redraw(sql, transport));
  } catch (error) {
    // The replay stands; the scheduler's next sweep brings the picture up to date.
    log.warn({ code: codeOf(error), error }, 'dead_letters_not_mirrored');
  }
  return c.json({ jobId: replayed.jobId, created: replayed.created });
}

async function redraw(sql: Sql, transport: Transport): Promise<void> {
  await mirrorDeadLetters(transport, await listDeadLetters(sql, { limit: mirroredDeadLetters }));
}
