/**
 * Runs before Bull Board, whose buttons act on BullMQ and know no user. Read requests pass; Retry and Promote
 * on a dead letter become a replay; every other change is refused with the command that does it.
 */
import { Hono } from 'hono';
import type { Context } from 'hono';
import { deadLetterQueue } from '../../queues/dead-letter-mirror.ts';
import { isReading } from '../browser-rules.ts';
import type { WebEnv } from '../web-env.ts';
import { refusalOf } from './refused-changes.ts';
import { replayOnRetry } from './replay-on-retry.ts';
import type { ReplayOptions } from './replay-on-retry.ts';

/** Mount it at the same path as Bull Board, before it. */
export function createBullBoardGuard(options: ReplayOptions, bullBoardPath: string): Hono<WebEnv> {
  const guard = new Hono<WebEnv>();
  guard.put(`/api/queues/${deadLetterQueue}/:entryId/:action{retry|promote}`, (c) =>
    replayOnRetry(c, options, c.req.param('entryId')),
  );
  guard.use(async (c, next) => (isReading(c.req.method) ? next() : refuse(c, bullBoardPath)));
  return guard;
}

function refuse(c: Context<WebEnv>, bullBoardPath: string): Response {
  const prefix = `${bullBoardPath}/api/`;
  const path = c.req.path.startsWith(prefix) ? c.req.path.slice(prefix.length) : '';
  const { message, command } = refusalOf(path);
  // Bull Board shows `error` and `message` to its user.
  return c.json(
    { error: 'Not possible in Bull Board', message: `${message} Command: ${command}`, command },
    403,
  );
}
