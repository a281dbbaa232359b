/**
 * Runs before Bull Board, whose buttons act on BullMQ and know no user. Read requests pass; every other one is refused
 * with the page of the console and the command that do it.
 */
import { Hono } from 'hono';
import type { Context } from 'hono';
import { isReading } from '../access/browser-rules.ts';
import type { WebEnv } from '../web-env.ts';
import { refusalOf } from './refused-changes.ts';

/** Mount it at the same path as Bull Board, before it. */
export function createBullBoardGuard(bullBoardPath: string): Hono<WebEnv> {
  const guard = new Hono<WebEnv>();
  guard.use(async (c, next) => (isReading(c.req.method) ? next() : refuse(c, bullBoardPath)));
  return guard;
}

function refuse(c: Context<WebEnv>, bullBoardPath: string): Response {
  const prefix = `${bullBoardPath}/api/`;
  const path = c.req.path.startsWith(prefix) ? c.req.path.slice(prefix.length) : '';
  const { message, command, page } = refusalOf(path);
  // Bull Board shows `error` and `message` to its user.
  return c.json(
    {
      error: 'Not possible in Bull Board',
      message: `${message} Page: ${page} Command: ${command}`,
      page,
      command,
    },
    403,
  );
}
