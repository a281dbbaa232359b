/** The pages of tenants, schedules, workers and pauses. */
import { Hono } from 'hono';
import type { Sql } from '../../../db/connect.ts';
import type { WebEnv } from '../../web-env.ts';
import { createPauses } from './pauses-routes.tsx';
import { createSchedules } from './schedules-routes.tsx';
import { createTenants } from './tenants-routes.tsx';
import { createWorkers } from './workers-routes.tsx';

export function createFleetPages(options: { readonly sql: Sql }): Hono<WebEnv> {
  const app = new Hono<WebEnv>();
  for (const create of [createTenants, createSchedules, createWorkers, createPauses]) {
    app.route('/', create(options));
  }
  return app;
}
