/** /jobs/ID and /dead-letters/ID: one job, and what an operator may do with it. */
import { Hono } from 'hono';
import type { Context } from 'hono';
import type { Database } from '../../../../db/database.ts';
import { withLockTimeout } from '../../../../db/locks/lock-timeout.ts';
import { editPayload } from '../../../../operations/batches/edit-payload.ts';
import type { PayloadDoor } from '../../../payload-door.ts';
import { cancelAs } from '../../../../operations/cancel.ts';
import { discardAs, replayAs } from '../../../../operations/dead-letters.ts';
import { requireCsrf } from '../../../access/csrf.ts';
import { requireRole } from '../../../access/route-rules.ts';
import type { WebEnv } from '../../../web-env.ts';
import { answerPage } from '../../layout.tsx';
import {
  choiceField,
  idOf,
  objectField,
  optionalReasonField,
  readForm,
  readQuery,
  reasonField,
} from '../../parts/form.ts';
import { outcomes } from './outcome.ts';
import type { Outcome } from './outcome.ts';
import { JobPage } from './page.tsx';
import { readJobView } from './read.ts';

export function createJob(
  database: Pick<Database, 'system' | 'once'>,
  payloads: PayloadDoor,
): Hono<WebEnv> {
  const sql = database.system;
  const app = new Hono<WebEnv>();
  const show = (path: string) => async (c: Context<WebEnv>) => {
    const { done } = readQuery(c, { done: choiceField(outcomes) });
    const view = await readJobView(sql, idOf(c, 'job'));
    return answerPage(c, <JobPage access={c.get('access')} path={path} view={view} done={done} />);
  };
  app.get('/jobs/:id', requireRole('viewer'), show('/jobs'));
  app.get('/dead-letters/:id', requireRole('viewer'), show('/dead-letters'));
  app.post('/jobs/:id/cancel', requireRole('operator'), requireCsrf(), async (c) => {
    const jobId = idOf(c, 'job');
    const { reason } = await readForm(c, { reason: reasonField() });
    const { operator } = c.get('access');
    const { outcome } = await withLockTimeout(database, `the cancellation of job ${jobId}`, (tx) =>
      cancelAs(tx, operator, { jobId, reason }),
    );
    return done(c, jobId, outcome);
  });
  app.post('/jobs/:id/replay', requireRole('operator'), requireCsrf(), async (c) => {
    const jobId = idOf(c, 'job');
    const { reason } = await readForm(c, { reason: optionalReasonField() });
    const { operator } = c.get('access');
    const replayed = await withLockTimeout(database, `the replay of job ${jobId}`, (tx) =>
      replayAs(tx, operator, { jobId, reason }),
    );
    return done(c, replayed.jobId, replayed.created ? 'replayed' : 'replayed_before');
  });
  app.post('/jobs/:id/discard', requireRole('operator'), requireCsrf(), async (c) => {
    const jobId = idOf(c, 'job');
    const { reason } = await readForm(c, { reason: reasonField() });
    const { operator } = c.get('access');
    await withLockTimeout(database, `the discard of job ${jobId}`, (tx) =>
      discardAs(tx, operator, { jobId, reason }),
    );
    return done(c, jobId, 'discarded');
  });
  app.post('/jobs/:id/edit', requireRole('operator'), requireCsrf(), async (c) => {
    const jobId = idOf(c, 'job');
    const { payload, reason } = await readForm(c, {
      payload: objectField(),
      reason: reasonField(),
    });
    const { operator } = c.get('access');
    // On the connection of the transaction: the web role may have no other.
    const made = await withLockTimeout(database, `the replay of job ${jobId}`, (tx) =>
      editPayload(tx, operator, { jobId, payload, reason, schemaOf: payloads.schemaOf(tx) }),
    );
    return done(c, made.jobId, 'edited');
  });
  return app;
}

const done = (c: Context<WebEnv>, jobId: string, outcome: Outcome): Response =>
  c.redirect(`/jobs/${jobId}?done=${outcome}`, 303);
