/** /budgets: what each tenant may spend and has spent, and the acts that change it. */
import { Hono } from 'hono';
import type { Context } from 'hono';
import { z } from 'zod';
import { budgetStatus } from '../../../budget/budgets.ts';
import { scopeKinds, scopeStatus } from '../../../budget/scopes.ts';
import { listStops } from '../../../budget/stops.ts';
import type { Sql } from '../../../db/connect.ts';
import { PurserError } from '../../../errors.ts';
import { setBudgetAs, topUpAs } from '../../../operations/money/budget.ts';
import { circuitBreakers, resetBreakerAs, resumeCallsAs } from '../../../operations/money/calls.ts';
import { removeScopeAs, setScopeAs } from '../../../operations/money/scopes.ts';
import { requireCsrf } from '../../access/csrf.ts';
import { requireRole } from '../../access/route-rules.ts';
import type { WebEnv } from '../../web-env.ts';
import { answerPage } from '../layout.tsx';
import { readForm, readQuery, reasonField, textField } from '../parts/form.ts';
import { formAct } from '../parts/form-act.ts';
import { leadTo } from '../parts/outcome.tsx';
import { noTenant, tenantField, tenantOf } from '../parts/tenant-of.ts';
import { BudgetPage } from './budget-page.tsx';
import { BudgetsPage } from './budgets-page.tsx';
import { usdField } from './fields.ts';

const pageSize = 50;
const shownScopes = 500;

const scopeTarget = {
  tenant: tenantField(),
  kind: z.enum(scopeKinds, { error: `takes one of ${scopeKinds.join(', ')}` }),
  subject: textField(),
  each: z.enum(['day', 'month', 'job'], { error: 'takes one of day, month, job' }),
};

const pathOf = (tenantId: string): string => `/budgets/${encodeURIComponent(tenantId)}`;

export function createBudgets({ sql }: { readonly sql: Sql }): Hono<WebEnv> {
  const app = new Hono<WebEnv>();
  app.get('/budgets', requireRole('viewer'), async (c) => {
    const { tenant, after, done } = readQuery(c, {
      tenant: textField(),
      after: textField(),
      done: textField(40),
    });
    const [rows, stops, breakers] = await Promise.all([
      budgetStatus(sql, { idBegins: tenant, afterId: after, limit: pageSize + 1 }),
      listStops(sql),
      circuitBreakers(sql),
    ]);
    const budgets = rows.slice(0, pageSize);
    const next = rows.length > pageSize ? budgets.at(-1)?.tenantId : undefined;
    return answerPage(
      c,
      <BudgetsPage
        access={c.get('access')}
        budgets={budgets}
        stops={stops}
        breakers={breakers}
        tenant={tenant}
        after={after}
        next={next}
        done={done}
      />,
    );
  });
  app.get('/budgets/:tenant', requireRole('viewer'), async (c) => {
    const { done } = readQuery(c, { done: textField(40) });
    const tenantId = tenantOf(c);
    const [[budget], scopes] = await Promise.all([
      budgetStatus(sql, { tenantId }),
      scopeStatus(sql, { tenantId, limit: shownScopes + 1 }),
    ]);
    if (budget === undefined) throw noTenant(tenantId);
    return answerPage(
      c,
      <BudgetPage
        access={c.get('access')}
        budget={budget}
        scopes={scopes.slice(0, shownScopes)}
        isCut={scopes.length > shownScopes}
        done={done}
      />,
    );
  });
  addBudgetActs(app, sql);
  addCallActs(app, sql);
  return app;
}

const operatorOf = (c: Context<WebEnv>) => c.get('access').operator;

function addBudgetActs(app: Hono<WebEnv>, sql: Sql): void {
  app.post('/budgets/set', requireRole('operator'), requireCsrf(), async (c) => {
    const { tenant, usd, limit, reason } = await readForm(c, {
      tenant: tenantField(),
      usd: usdField(),
      limit: z.enum(['hard', 'soft'], { error: 'takes one of hard, soft' }),
      reason: reasonField(),
    });
    const request = { tenantId: tenant, monthlyLimitUsd: usd, hard: limit === 'hard', reason };
    await formAct(() => setBudgetAs(sql, operatorOf(c), request));
    return leadTo(c, pathOf(tenant), { done: 'set' });
  });
  app.post('/budgets/top-up', requireRole('operator'), requireCsrf(), async (c) => {
    const { tenant, usd, reason } = await readForm(c, {
      tenant: tenantField(),
      usd: usdField(),
      reason: reasonField(),
    });
    await formAct(() => topUpAs(sql, operatorOf(c), { tenantId: tenant, usd, reason }));
    return leadTo(c, pathOf(tenant), { done: 'topped_up' });
  });
  app.post('/budgets/set-scope', requireRole('operator'), requireCsrf(), async (c) => {
    const form = await readForm(c, {
      ...scopeTarget,
      usd: z.union([z.literal('').transform(() => undefined), usdField()]).optional(),
      calls: z
        .union([
          z.literal('').transform(() => undefined),
          z
            .string()
            .regex(/^\d{1,10}$/, 'takes a whole number from 0')
            .transform(Number),
        ])
        .optional(),
      zone: textField(60),
      limit: z.enum(['hard', 'soft'], { error: 'takes one of hard, soft' }),
      reason: reasonField(),
    });
    const { tenant: tenantId, kind, subject, each, usd, calls, zone, limit, reason } = form;
    const target = { tenantId, kind, subject, period: each };
    const values = { timeZone: zone, limitUsd: usd, limitCalls: calls, hard: limit === 'hard' };
    const done = await formAct(() =>
      setScopeAs(sql, operatorOf(c), { ...target, ...values, reason }),
    );
    return leadTo(c, pathOf(tenantId), { done: `scope_${done}` });
  });
  app.post('/budgets/remove-scope', requireRole('operator'), requireCsrf(), async (c) => {
    const form = await readForm(c, { ...scopeTarget, reason: reasonField() });
    const { tenant: tenantId, kind, subject, each: period, reason } = form;
    const removed = await formAct(() =>
      removeScopeAs(sql, operatorOf(c), { tenantId, kind, subject, period, reason }),
    );
    return leadTo(c, pathOf(tenantId), { done: removed ? 'scope_removed' : 'scope_gone' });
  });
}

/** Of stops and circuit breakers. */
function addCallActs(app: Hono<WebEnv>, sql: Sql): void {
  app.post('/budgets/lift-stop', requireRole('operator'), requireCsrf(), async (c) => {
    const { tenant, reason, ...names } = await readForm(c, {
      tenant: textField(),
      provider: textField(),
      model: textField(),
      reason: reasonField(),
    });
    const lifted = await formAct(() =>
      resumeCallsAs(sql, operatorOf(c), { tenantId: tenant, ...names, reason }),
    );
    return leadTo(c, '/budgets', { done: lifted ? 'lifted' : 'stop_gone' });
  });
  app.post('/budgets/close-breaker', requireRole('operator'), requireCsrf(), async (c) => {
    const { breaker = '', reason } = await readForm(c, {
      breaker: textField(1_000),
      reason: reasonField(),
    });
    const before = await resetBreakerAs(sql, operatorOf(c), { breaker, reason });
    if (before === undefined) {
      const name = JSON.stringify(breaker.slice(0, 300));
      throw new PurserError('unknown_breaker', `there is no circuit breaker ${name}`, {
        status: 404,
      });
    }
    return leadTo(c, '/budgets', { done: 'closed' });
  });
}
