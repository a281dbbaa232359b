/** /pauses: what is paused or stopped, by whom and why, and the acts that pause, stop and resume. */
import { Hono } from 'hono';
import { z } from 'zod';
import type { Sql } from '../../../db/connect.ts';
import { PurserError } from '../../../errors.ts';
import { listPauses } from '../../../jobs/pauses.ts';
import type { PauseTarget } from '../../../jobs/pauses.ts';
import { pauseAs, resumeAs } from '../../../operations/pauses.ts';
import { stopWork } from '../../../operations/stop/stop.ts';
import { requireCsrf } from '../../access/csrf.ts';
import { requireRole } from '../../access/route-rules.ts';
import type { WebEnv } from '../../web-env.ts';
import { answerPage } from '../layout.tsx';
import { readForm, readQuery, reasonField, textField } from '../parts/form.ts';
import { formAct } from '../parts/form-act.ts';
import { leadTo } from '../parts/outcome.tsx';
import { PausesPage } from './pauses-page.tsx';

const scopes = ['all', 'job_type', 'tenant'] as const;

const target = {
  scope: z.enum(scopes, { error: `takes one of ${scopes.join(', ')}` }),
  name: textField(),
};

interface NamedTarget {
  readonly scope: PauseTarget['scope'];
  readonly name?: string | undefined;
}

/** Throws `invalid_form` (400). */
function targetOf({ scope, name }: NamedTarget): PauseTarget {
  if ((scope === 'all') === (name === undefined)) return { scope, name: name ?? '' };
  const text =
    scope === 'all'
      ? 'the field name is to be empty: all jobs are meant'
      : `the field name is needed: the ${scope === 'tenant' ? 'id of a tenant' : 'job type'}`;
  throw new PurserError('invalid_form', text, { status: 400 });
}

export function createPauses({ sql }: { readonly sql: Sql }): Hono<WebEnv> {
  const app = new Hono<WebEnv>();
  app.get('/pauses', requireRole('viewer'), async (c) => {
    const { done } = readQuery(c, { done: textField(40) });
    const pauses = await listPauses(sql);
    return answerPage(c, <PausesPage access={c.get('access')} pauses={pauses} done={done} />);
  });
  app.post('/pauses/pause', requireRole('operator'), requireCsrf(), async (c) => {
    const { reason, ...named } = await readForm(c, { ...target, reason: reasonField() });
    const request = { ...targetOf(named), reason };
    await formAct(() => pauseAs(sql, c.get('access').operator, request));
    return leadTo(c, '/pauses', { done: 'paused' });
  });
  app.post('/pauses/stop', requireRole('operator'), requireCsrf(), async (c) => {
    const { reason, ...named } = await readForm(c, { ...target, reason: reasonField() });
    const request = { target: targetOf(named), reason };
    await formAct(() => stopWork(sql, c.get('access').operator, request));
    return leadTo(c, '/pauses', { done: 'stopped' });
  });
  app.post('/pauses/resume', requireRole('operator'), requireCsrf(), async (c) => {
    const { reason, ...named } = await readForm(c, { ...target, reason: reasonField() });
    const request = { ...targetOf(named), reason };
    const ended = await formAct(() => resumeAs(sql, c.get('access').operator, request));
    return leadTo(c, '/pauses', { done: ended === undefined ? 'not_paused' : 'resumed' });
  });
  return app;
}
