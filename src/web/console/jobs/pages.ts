/** The pages about jobs: now, jobs, one job, failures, dead letters and batches. */
import { Hono } from 'hono';
import type { Database } from '../../../db/database.ts';
import type { PayloadDoor } from '../../payload-door.ts';
import type { WebEnv } from '../../web-env.ts';
import { createBatches } from './batches/routes.tsx';
import { createDeadLetters } from './dead-letters-routes.tsx';
import { createFailures } from './failures-routes.tsx';
import { createJob } from './job/routes.tsx';
import { createJobList } from './list-routes.tsx';
import { createNow } from './now-routes.tsx';

export function createJobPages(
  database: Pick<Database, 'system' | 'once'>,
  payloads: PayloadDoor,
): Hono<WebEnv> {
  const sql = database.system;
  const app = new Hono<WebEnv>();
  app.route('/', createNow({ sql }));
  app.route('/', createJobList({ sql }));
  app.route('/', createJob(database, payloads));
  app.route('/', createFailures({ sql }));
  app.route('/', createDeadLetters({ sql }));
  app.route('/', createBatches(database));
  return app;
}
