/** /money: what was spent, what is unknown and what was refused in a month; and the cost of a call that is unknown. */
import { Hono } from 'hono';
import type { Context } from 'hono';
import { z } from 'zod';
import { parseUsd } from '../../../budget/money.ts';
import { listRefusedCalls } from '../../../budget/report/refused-calls.ts';
import { listUnknownHolds } from '../../../budget/report/unknown.ts';
import { spendCsv } from '../../../budget/spend/csv.ts';
import { spendTable } from '../../../budget/spend/table.ts';
import type { Sql } from '../../../db/connect.ts';
import { PurserError } from '../../../errors.ts';
import { isStorable } from '../../../names.ts';
import { resolveAs } from '../../../operations/money/costs.ts';
import { requireCsrf } from '../../access/csrf.ts';
import { requireRole } from '../../access/route-rules.ts';
import type { WebEnv } from '../../web-env.ts';
import { answerPage } from '../layout.tsx';
import { choiceField, readForm, readQuery, reasonField, textField } from '../parts/form.ts';
import { formAct } from '../parts/form-act.ts';
import { leadTo } from '../parts/outcome.tsx';
import { CallPage } from './call-page.tsx';
import { groupingNames, groupings, monthField, usdField } from './fields.ts';
import { MoneyPage } from './money-page.tsx';

const shownRows = 200;
/** Of a table by tenant and day. */
const shownTenants = 20;
const shownCalls = 50;
/** Of a CSV file, which is made in memory. */
const mostCsvRows = 100_000;

const filter = {
  month: monthField(),
  tenant: textField(),
  type: textField(),
  model: textField(),
  by: choiceField(groupingNames),
};

const callId = z.object({
  id: z.uuid({ error: 'takes the id of a reservation, as /money lists it' }),
}).shape;

function readFilter(c: Context<WebEnv>) {
  const { done, ...fields } = readQuery(c, { ...filter, done: textField(40) });
  const { month, tenant, type, model, by: grouping = 'tenant' } = fields;
  return { done, grouping, month, tenantId: tenant, jobType: type, model };
}

export function createMoney({ sql }: { readonly sql: Sql }): Hono<WebEnv> {
  const app = new Hono<WebEnv>();
  app.get('/money', requireRole('viewer'), async (c) => {
    const { done, grouping, ...asked } = readFilter(c);
    const { tenantId } = asked;
    const spend = await spendTable(sql, {
      ...asked,
      by: groupings[grouping],
      limit: shownRows,
      mostTenants: shownTenants,
    });
    const [unknown, refused] = await Promise.all([
      listUnknownHolds(sql, { tenantId, limit: shownCalls }),
      listRefusedCalls(sql, { month: spend.month, tenantId, limit: shownCalls }),
    ]);
    return answerPage(
      c,
      <MoneyPage
        access={c.get('access')}
        filter={{ ...asked, grouping }}
        spend={spend}
        unknown={unknown}
        refused={refused}
        done={done}
      />,
    );
  });
  app.get('/money.csv', requireRole('viewer'), async (c) => {
    const { done: _done, grouping, ...asked } = readFilter(c);
    const by = groupings[grouping];
    const spend = await spendTable(sql, { ...asked, by, limit: mostCsvRows });
    if (spend.isCut) {
      throw new PurserError(
        'too_many_rows',
        `this file would have more than ${mostCsvRows} rows; name a tenant, a type or a model, or group by less`,
        { status: 400 },
      );
    }
    const name = `purser-money-${spend.month.slice(0, 7)}-${grouping}.csv`;
    return c.body(`${spendCsv(spend, by).join('\r\n')}\r\n`, 200, {
      'Content-Type': 'text/csv; charset=utf-8',
      'Content-Disposition': `attachment; filename="${name}"`,
    });
  });
  app.get('/money/call', requireRole('viewer'), async (c) => {
    const { id } = readQuery(c, callId);
    return answerPage(c, <CallPage access={c.get('access')} call={await unknownCall(sql, id)} />);
  });
  app.post('/money/resolve', requireRole('operator'), requireCsrf(), async (c) => {
    const form = await readForm(c, {
      ...callId,
      usd: usdField(),
      evidence: evidenceField(),
      reason: reasonField(),
    });
    const { id, evidence, reason, usd } = form;
    const { operator } = c.get('access');
    const request = { reservationId: id, costNanoUsd: parseUsd(usd), evidence, reason };
    const { outcome } = await formAct(() => resolveAs(sql, operator, request));
    return leadTo(c, '/money', { done: outcome });
  });
  return app;
}

/** Once per call: the same evidence again resolves nothing. */
const evidenceField = () =>
  z
    .string({ error: 'is needed: what shows the cost, e.g. invoice 2026-11 line 17' })
    .transform((text) => text.trim())
    .refine(
      (text) => text !== '' && text.length <= 200 && isStorable(text) && !/\p{Cc}/u.test(text),
      'takes one line of 1 to 200 characters, e.g. invoice 2026-11 line 17',
    );

async function unknownCall(sql: Sql, reservationId: string) {
  const { oldest } = await listUnknownHolds(sql, { reservationId, limit: 1 });
  const [call] = oldest;
  if (call !== undefined) return call;
  throw new PurserError(
    'not_found',
    `there is no call of unknown cost with the reservation ${reservationId}; it may have been resolved`,
    { status: 404 },
  );
}
