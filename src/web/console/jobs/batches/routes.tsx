/** /batches: what operators did, or are about to do, with all jobs of a filter. */
import { Hono } from 'hono';
import type { Context } from 'hono';
import type { Database } from '../../../../db/database.ts';
import {
  resumeBatch,
  startBatch,
  stopBatch,
  undoBatch,
} from '../../../../operations/batches/acts.ts';
import { batchOf, listBatches } from '../../../../operations/batches/batch.ts';
import { maxPerSecond } from '../../../../operations/batches/checks.ts';
import { maxMembers, previewBatch } from '../../../../operations/batches/preview.ts';
import { storedFigures } from '../../../../operations/batches/stored-figures.ts';
import { requireCsrf } from '../../../access/csrf.ts';
import { requireRole } from '../../../access/route-rules.ts';
import type { WebEnv } from '../../../web-env.ts';
import { answerPage } from '../../layout.tsx';
import {
  choiceField,
  idField,
  idOf,
  optionalWholeField,
  readForm,
  readQuery,
  reasonField,
  wholeField,
} from '../../parts/form.ts';
import { filterOf, filterShape } from '../filter.ts';
import { BatchPage } from './batch-page.tsx';
import { batchOutcomes } from './outcome.ts';
import type { BatchOutcome } from './outcome.ts';
import { ListPage } from './list-page.tsx';

const pageSize = 50;
const acts = ['replay', 'discard', 'cancel'] as const;

const done = (c: Context<WebEnv>, batchId: string, outcome: BatchOutcome): Response =>
  c.redirect(`/batches/${batchId}?done=${outcome}`, 303);

export function createBatches({ system: sql }: Pick<Database, 'system'>): Hono<WebEnv> {
  const app = new Hono<WebEnv>();
  app.get('/batches', requireRole('viewer'), async (c) => {
    const { before } = readQuery(c, { before: idField() });
    const rows = await listBatches(sql, { limit: pageSize + 1, beforeId: before });
    const batches = rows.slice(0, pageSize);
    return answerPage(
      c,
      <ListPage
        access={c.get('access')}
        batches={batches}
        next={rows.length > pageSize ? batches.at(-1)?.batchId : undefined}
        isLater={before !== undefined}
      />,
    );
  });
  app.get('/batches/:id', requireRole('viewer'), async (c) => {
    const query = readQuery(c, { done: choiceField(batchOutcomes) });
    const batch = await batchOf(sql, idOf(c, 'batch'));
    const figures =
      batch.state === 'previewed' ? await storedFigures(sql, batch.batchId) : undefined;
    const access = c.get('access');
    return answerPage(
      c,
      <BatchPage access={access} batch={batch} figures={figures} done={query.done} />,
    );
  });
  app.post('/batches', requireRole('operator'), requireCsrf(), async (c) => {
    const { act, limit, ...values } = await readForm(c, {
      ...filterShape(),
      act: choiceField(acts),
      limit: optionalWholeField(1, maxMembers),
    });
    const filter = await filterOf(sql, values);
    const { operator } = c.get('access');
    const preview = await previewBatch(sql, operator, { act: act ?? 'replay', filter, limit });
    return done(c, preview.batchId, 'previewed');
  });
  app.post('/batches/:id/start', requireRole('operator'), requireCsrf(), async (c) => {
    const batchId = idOf(c, 'batch');
    const order = await readForm(c, {
      perSecond: wholeField(1, maxPerSecond),
      reason: reasonField(),
    });
    await startBatch(sql, c.get('access').operator, { batchId, ...order });
    return done(c, batchId, 'started');
  });
  app.post('/batches/:id/stop', requireRole('operator'), requireCsrf(), async (c) => {
    const batchId = idOf(c, 'batch');
    const { reason } = await readForm(c, { reason: reasonField() });
    await stopBatch(sql, c.get('access').operator, { batchId, reason });
    return done(c, batchId, 'stopped');
  });
  app.post('/batches/:id/resume', requireRole('operator'), requireCsrf(), async (c) => {
    const batchId = idOf(c, 'batch');
    const order = await readForm(c, {
      perSecond: wholeField(1, maxPerSecond),
      reason: reasonField(),
    });
    await resumeBatch(sql, c.get('access').operator, { batchId, ...order });
    return done(c, batchId, 'resumed');
  });
  app.post('/batches/:id/undo', requireRole('operator'), requireCsrf(), async (c) => {
    const batchId = idOf(c, 'batch');
    const { reason } = await readForm(c, { reason: reasonField() });
    await undoBatch(sql, c.get('access').operator, { batchId, reason });
    return done(c, batchId, 'undone');
  });
  return app;
}
