/**
 * Bull Board over the queues of every registered job type (read-only) and the mirror of the dead letters.
 * Its pages load nothing from other hosts.
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

export interface BullBoardOptions {
  readonly transport: Transport;
  readonly jobTypes: () => Promise<readonly string[]>;
}

/** This queue has no workers by design; `null` (unknown) keeps Bull Board from warning about that. */
class DeadLetterAdapter extends BullMQAdapter {
  override getWorkers(): Promise<null> {
    return Promise.resolve(null);
  }
}

/** Mount it at `bullBoardPath`, after the guard. */
export function createBullBoardApp(options: BullBoardOptions, bullBoardPath: string): Hono<WebEnv> {
  const { transport } = options;
  const deadLetters = new DeadLetterAdapter(transport.queue(deadLetterQueue), {
    description:
      'Jobs that ended without success. They do not run again unless replayed; Promote replays one as a new job.',
  });
  const adapter = new HonoAdapter(serveStatic).setBasePath(bullBoardPath);
  const bullBoard = createBullBoard({
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
      bullBoard.replaceQueues([...(await options.jobTypes()).map(adapterOf), deadLetters]);
      await next();
    }),
  );
  app.use(withoutExternalLinks());
  app.route('/', adapter.registerPlugin());
  return app;
}

const externalElement =
  /<(?:link|script|img|iframe)\b[^>]*\b(?:href|src)\s*=\s*["']?(?:https?:)?\/\/[^>]*>(?:\s*<\/(?:script|iframe)>)?/gi;

/** Bull Board's page links to a font service; without it the browser uses the system's fonts. */
function withoutExternalLinks(): MiddlewareHandler {
  return createMiddleware(async (c, next) => {
    await next();
    if (!(c.res.headers.get('content-type') ?? '').startsWith('text/html')) return;
    const html = await c.res.text();
    const headers = new Headers(c.res.headers);
    headers.delete('content-length');
    c.res = new Response(html.replace(externalElement, ''), { status: c.res.status, headers });
  });
}
