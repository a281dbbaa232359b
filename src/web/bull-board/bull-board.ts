/**
 * Bull Board over the queues of every registered job type and the mirror of the dead letters, all read-only: it shows the
 * transport. Its pages load nothing from other hosts.
 */
import { createBullBoard } from '@bull-board/api';
import { BullMQAdapter } from '@bull-board/api/bullMQAdapter';
import { HonoAdapter } from '@bull-board/hono';
import { serveStatic } from '@hono/node-server/serve-static';
import { Hono } from 'hono';
import { createMiddleware } from 'hono/factory';
import type { MiddlewareHandler } from 'hono';
import type { Sql } from '../../db/connect.ts';
import type { Logger } from '../../log.ts';
import {
  deadLetterQueue,
  jobOfDeadLetterEntry,
  mirroredDeadLetters,
} from '../../queues/dead-letter-mirror.ts';
import type { Transport } from '../../queues/transport.ts';
import type { WebEnv } from '../web-env.ts';
import { EntryAdapter } from './entries.ts';

export interface BullBoardOptions {
  readonly sql: Sql;
  readonly transport: Transport;
  readonly jobTypes: () => Promise<readonly string[]>;
  readonly log: Logger;
}

const transportOnly =
  'Transport only: entries that wait or are with a worker. The states of jobs are in the console.';

type Jobs = Awaited<ReturnType<BullMQAdapter['getJobs']>>;

/** The delay of an entry keeps it in its place; Bull Board would show it as the time at which the job runs. */
function hideDelays(jobs: Jobs): Jobs {
  for (const job of jobs) Object.assign(job, { delay: 0, opts: { ...job.opts, delay: 0 } });
  return jobs;
}

/** This queue has no workers by design; `null` (unknown) keeps Bull Board from warning about that. */
class DeadLetterAdapter extends BullMQAdapter {
  override getWorkers(): Promise<null> {
    return Promise.resolve(null);
  }

  override async getJobs(...range: Parameters<BullMQAdapter['getJobs']>): Promise<Jobs> {
    return hideDelays(await super.getJobs(...range));
  }

  override async getJob(id: string): Promise<Jobs[number] | undefined> {
    const job = await super.getJob(id);
    if (job !== undefined) hideDelays([job]);
    return job;
  }
}

/** Mount it at `bullBoardPath`, after the guard. */
export function createBullBoardApp(options: BullBoardOptions, bullBoardPath: string): Hono<WebEnv> {
  const { sql, transport, log } = options;
  const deadLetters = new DeadLetterAdapter(transport.queue(deadLetterQueue), {
    readOnlyMode: true,
    description:
      `A copy of the newest ${mirroredDeadLetters} dead letters. All of them, and their replay: /dead-letters ` +
      'in the console.',
    externalJobUrl: ({ id }) => {
      const jobId = jobOfDeadLetterEntry(String(id));
      return { href: `/dead-letters/${jobId ?? ''}`, displayText: `Dead letter ${jobId ?? ''}` };
    },
  });
  const adapter = new HonoAdapter(serveStatic).setBasePath(bullBoardPath);
  const bullBoard = createBullBoard({
    queues: [deadLetters],
    serverAdapter: adapter,
    options: {
      uiConfig: {
        boardTitle: 'Purser: transport only',
        environment: { label: 'Transport only, read-only', color: '#5b3a8c', textColor: '#ffffff' },
        miscLinks: [{ text: 'To the console', url: '/' }],
        hideDocsLink: true,
      },
    },
  });
  const live = new Map<string, BullMQAdapter>();
  const adapterOf = (jobType: string): BullMQAdapter => {
    const known =
      live.get(jobType) ??
      new EntryAdapter({
        sql,
        log,
        queue: transport.queue(jobType),
        description: transportOnly,
      });
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
