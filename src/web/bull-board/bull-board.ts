/**
 * Bull Board over the queues of every registered job type (read-only) and the mirror of the dead letters.
 * Its page is served without anything from outside.
 */
import { createBullBoard } from '@bull-board/api';
import { BullMQAdapter } from '@bull-board/api/bullMQAdapter';
import { HonoAdapter } from '@bull-board/hono';
import { serveStatic } from '@hono/node-server/serve-static';
import { Hono } from 'hono';
import { createMiddleware } from 'hono/factory';
import type { MiddlewareHandler } from 'hono';
import { deadLetterQueue } from '../../queues/dead-letter-mirror.ts';
import type { Transport } from '../../queues/transport.ts';
import type { WebEnv } from '../web-env.ts';

export interface BoardOptions {
  readonly transport: Transport;
  readonly jobTypes: () => Promise<readonly string[]>;
}

/** Nobody works on this queue by design; "unknown" keeps the board from warning about it. */
class DeadLetterAdapter extends BullMQAdapter {
  override getWorkers(): Promise<null> {
    return Promise.resolve(null);
  }
}

/** To be mounted at `boardPath`, behind the guard. */
export function createBoard(options: BoardOptions, boardPath: string): Hono<WebEnv> {
  const { transport } = options;
  const deadLetters = new DeadLetterAdapter(transport.queue(deadLetterQueue), {
    description:
      'Jobs that ended without success. None runs by itself; promote replays one as a new job.',
  });
  const adapter = new HonoAdapter(serveStatic).setBasePath(boardPath);
  const board = createBullBoard({
    queues: [deadLetters],
    serverAdapter: adapter,
    options: {
      uiConfig: { boardTitle: 'Purser', hideDocsLink: true },
    },
  });
  const live = new Map<string, BullMQAdapter>();
  const adapterOf = (jobType: string): BullMQAdapter => {
    const known =
      live.get(jobType) ?? new BullMQAdapter(transport.queue(jobType), { readOnlyMode: true });
    live.set(jobType, known);
    return known;
  };

  const app = new Hono<WebEnv>();
  app.use(
    createMiddleware(async (_, next) => {
      board.replaceQueues([...(await options.jobTypes()).map(adapterOf), deadLetters]);
      await next();
    }),
  );
  app.use(withoutOutsideLinks());
  app.route('/', adapter.registerPlugin());
  return app;
}

const outsideElement =
  /<(?:link|script|img|iframe)\b[^>]*\b(?:href|src)\s*=\s*["']?(?:https?:)?\/\/[^>]*>(?:\s*<\/(?:script|iframe)>)?/gi;

/** Bull Board's page asks a font service for its fonts; the system's own serve as well. */
function withoutOutsideLinks(): MiddlewareHandler {
  return createMiddleware(async (c, next) => {
    await next();
    if (!(c.res.headers.get('content-type') ?? '').startsWith('text/html')) return;
    const html = await c.res.text();
    const headers = new Headers(c.res.headers);
    headers.delete('content-length');
    c.res = new Response(html.replace(outsideElement, ''), { status: c.res.status, headers });
  });
}
