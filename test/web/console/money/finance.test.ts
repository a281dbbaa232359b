/** /money and its file: equal to the ledger, safe in a spreadsheet; a call of unknown cost is found, resolved and on record. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { formatUsd, parseUsd } from '../../../../src/budget/money.ts';
import { addUpSpend } from '../../../../src/budget/spend/add-up.ts';
import { attemptOf, callOf, refusedCall } from '../../../budget/report/calls.ts';
import { assertBooksRight } from '../../../support/ledger.ts';
import { addTenant } from '../../../support/tenants.ts';
import { addOperators, browserOf } from '../../access/access-fixture.ts';
import { hiddenFields } from '../../browser.ts';
import type { Browser } from '../../browser.ts';
import { startFixture } from '../../web-fixture.ts';
import type { WebFixture } from '../../web-fixture.ts';

let fixture: WebFixture;
let operator: Browser;
const sql = () => fixture.database.system;
beforeAll(async () => {
  fixture = await startFixture();
  await addOperators(fixture);
  operator = await browserOf(fixture, 'operator');
});
afterAll(async () => {
  await assertBooksRight(sql());
  await fixture.close();
});

/** The records of a file whose fields have no commas. */
async function recordsOf(path: string): Promise<string[][]> {
  const { status, headers, text } = await operator.get(path);
  expect([status, headers.get('content-type')]).toEqual([200, 'text/csv; charset=utf-8']);
  expect(headers.get('content-disposition')).toMatch(/^attachment; filename="[\w.-]+"$/);
  const [, ...records] = text.trimEnd().split('\r\n');
  return records.map((record) => record.split(','));
}

/** By tenant, type, model and day, straight from the ledger. */
const ledgerOf = (month: string) => sql()<{ name: string; spent: string }[]>`
  select concat_ws(',', l.tenant_id, r.job_type, r.provider, r.model, (r.created_at at time zone 'UTC')::date) as name,
    sum(l.spent_delta_usd)::text as spent
  from llm_ledger l join llm_reservations r on r.id = l.reservation_id
  where l.period_start = ${month}::date group by 1 order by 1`;

describe('what was spent', () => {
  it('by tenant, type, model and day is the ledger to the nano-dollar, whatever is added up already', async () => {
    for (const type of ['summarise', 'translate']) {
      for (let tenant = 0; tenant < 2; tenant += 1) {
        const attempt = await attemptOf(sql(), await addTenant(sql(), { limitUsd: '100' }), type);
        for (const [day, model, cost] of [
          ['2026-05-01', 'large', '0.000000001'],
          ['2026-05-01', 'small', '0.123456789'],
          ['2026-05-31', 'large', '0.999999999'],
          ['2026-05-31', 'large', '0.000000003'],
        ] as const) {
          const now = new Date(`${day}T23:59:59Z`);
          await callOf(sql(), attempt, { hold: '1', cost, model, now });
        }
        await addUpSpend(sql());
      }
    }
    const ledger = await ledgerOf('2026-05-01');
    expect(ledger).toHaveLength(12);
    const path = '/money.csv?month=2026-05&by=tenant_type_model_and_day';
    for (let rounds = 0; rounds < 3; rounds += 1) {
      const records = await recordsOf(path);
      const found = records.map(([, tenant, type, provider, model, day, spent]) => ({
        name: [tenant, type, provider, model, day].join(','),
        spent,
      }));
      expect(found.toSorted((one, other) => (one.name < other.name ? -1 : 1))).toEqual(
        ledger.map(({ name, spent }) => ({ name, spent: formatUsd(parseUsd(spent)) })),
      );
      await addUpSpend(sql());
    }
    const total = ledger.reduce((sum, { spent }) => sum + parseUsd(spent), 0n);
    expect(formatUsd(total)).toBe('4.493827168');
    for (const by of [
      'tenant',
      'type',
      'model',
      'key',
      'day',
      'tenant_and_type',
      'model_and_day',
    ]) {
      const page = await operator.get(`/money?month=2026-05&by=${by}`);
      expect([by, page.status, page.text.includes('$4.493827168')]).toEqual([by, 200, true]);
      const records = await recordsOf(`/money.csv?month=2026-05&by=${by}`);
      const spent = records.map((record) => record.at(-6) ?? '');
      expect(spent.reduce((sum, usd) => sum + parseUsd(usd), 0n)).toBe(total);
    }
  });

  it('is narrowed by tenant, type and model', async () => {
    const tenantId = await addTenant(sql(), { limitUsd: '100' });
    const attempt = await attemptOf(sql(), tenantId, 'narrow');
    await callOf(sql(), attempt, { hold: '1', cost: '0.5', model: 'one' });
    await callOf(sql(), attempt, { hold: '1', cost: '0.25', model: 'two' });
    const spentOf = async (query: string) =>
      (await recordsOf(`/money.csv?${query}`)).map((record) => record.at(-6));
    expect(await spentOf(`tenant=${tenantId}`)).toEqual(['0.75']);
    expect(await spentOf(`tenant=${tenantId}&model=two`)).toEqual(['0.25']);
    expect(await spentOf('type=narrow&by=model')).toEqual(['0.5', '0.25']);
    expect(await spentOf('type=nothing')).toEqual([]);
  });

  it('has no formula for a spreadsheet, whatever a tenant or a model is called', async () => {
    const names = ['=1+1', '+1', '-1', '@sum', '\uff1d1', ' =1'];
    for (const model of [...names, '\t=1', '\r=1']) {
      const tenantId = names.includes(model) && model.trim() === model ? model : 'formulas';
      await sql()`
        insert into tenants (id, plan) values (${tenantId}, 'enterprise') on conflict do nothing`;
      const attempt = await attemptOf(sql(), tenantId, 'formulas');
      await callOf(sql(), attempt, { hold: '0.1', cost: '0.1', model });
    }
    const { text } = await operator.get('/money.csv?type=formulas&by=tenant_and_model');
    const cells = text.split(/\r\n|,/).map((cell) => cell.replace(/^"/, ''));
    expect(cells.filter((cell) => /^\s*[=+\-@\uff1d]/.test(cell))).toEqual([]);
    expect(cells).toEqual(expect.arrayContaining(["'=1+1", "'+1", "'-1", "'@sum", "'\uff1d1"]));
  });

  it.each([
    ['month=2026-13', 'month'],
    ['month=26-01', 'month'],
    ['month=2026-05-01', 'month'],
    ['by=nothing', 'by'],
    ['tenant=%00', 'tenant'],
    [`model=${'x'.repeat(300)}`, 'model'],
    ['limit=1', 'limit'],
    ['month=%FF', 'month'],
  ])('refuses %s and names the field', async (query, field) => {
    for (const path of ['/money', '/money.csv']) {
      const { status, text } = await operator.get(`${path}?${query}`);
      expect([path, status]).toEqual([path, 400]);
      expect(text).toContain(field);
    }
  });
});

describe('a call of unknown cost', () => {
  const unknownCall = async (model: string) => {
    const tenantId = await addTenant(sql(), { limitUsd: '100' });
    const attempt = await attemptOf(sql(), tenantId, 'unknown_cost');
    const id = await callOf(sql(), attempt, { hold: '0.75', model });
    return { id, tenantId };
  };
  const spentBy = async (tenantId: string) => {
    const [row] = await sql()<{ spent: string; unknown: string }[]>`
      select trim_scale(spent_usd)::text as spent, trim_scale(unknown_usd)::text as unknown
      from llm_budget_status where tenant_id = ${tenantId}`;
    return row;
  };
  const formOf = async (id: string) =>
    hiddenFields((await operator.get(`/money/call?id=${id}`)).text, '/money/resolve');

  it('is found by age and dollars, resolved against an invoice line, and on record', async () => {
    const { id, tenantId } = await unknownCall('lost');
    const list = await operator.get(`/money?tenant=${tenantId}`);
    expect(list.text).toContain(`/money/call?id=${id}`);
    expect(list.text).toContain('under 1 h');
    const fields = { ...(await formOf(id)), usd: '0.123456789', evidence: 'invoice 7 line 3' };
    const answer = await operator.post('/money/resolve', { ...fields, reason: 'invoice of May' });
    expect([answer.status, answer.headers.get('location')]).toEqual([303, '/money?done=settled']);
    expect((await operator.get('/money?done=settled')).text).toContain('The call is resolved');
    expect(await spentBy(tenantId)).toEqual({ spent: '0.123456789', unknown: '0' });
    const acts = await sql()`
      select operator, proof, door, act, tenant_id, target, reason, before, after from operator_acts
      where target ->> 'reservationId' = ${id}`;
    expect(acts).toEqual([
      {
        operator: 'the operator',
        proof: 'session',
        door: 'console',
        act: 'budget_resolve',
        tenant_id: tenantId,
        target: { reservationId: id, evidence: 'invoice 7 line 3' },
        reason: 'invoice of May',
        before: { costUsd: null },
        after: { costUsd: '0.123456789', outcome: 'settled' },
      },
    ]);
    const gone = await operator.get(`/money/call?id=${id}`);
    expect(gone.status).toBe(404);
    const again = await operator.post('/money/resolve', { ...fields, reason: 'invoice of May' });
    expect(again.headers.get('location')).toBe('/money?done=repeated');
    const other = await operator.post('/money/resolve', { ...fields, usd: '1', reason: 'again' });
    expect(other.status).toBe(409);
    expect(await spentBy(tenantId)).toEqual({ spent: '0.123456789', unknown: '0' });
  });

  it('is resolved as not billed', async () => {
    const { id, tenantId } = await unknownCall('free');
    const page = (await operator.get(`/money/call?id=${id}`)).text;
    const form = page.slice(page.indexOf('as not billed'));
    const fields = { ...hiddenFields(form), evidence: 'not on the invoice', reason: 'checked' };
    expect(fields).toMatchObject({ id, usd: '0' });
    expect((await operator.post('/money/resolve', fields)).status).toBe(303);
    expect(await spentBy(tenantId)).toEqual({ spent: '0', unknown: '0' });
  });

  it.each([
    ['usd', { usd: '-1' }],
    ['usd', { usd: '1e3' }],
    ['usd', { usd: '0.0000000001' }],
    ['usd', { usd: '' }],
    ['evidence', { evidence: ' ' }],
    ['evidence', { evidence: 'two\nlines' }],
    ['reason', { reason: '' }],
    ['reason', { reason: 'x'.repeat(501) }],
    ['id', { id: 'x' }],
    ['more', { more: 'x' }],
  ])('is not resolved by a form whose field %s is wrong: %j', async (field, wrong) => {
    const { id, tenantId } = await unknownCall('kept');
    const right = { ...(await formOf(id)), usd: '1', evidence: 'line', reason: 'test' };
    const answer = await operator.post('/money/resolve', { ...right, ...wrong });
    expect(answer.status).toBe(400);
    expect(answer.text).toContain(field);
    expect(await spentBy(tenantId)).toEqual({ spent: '0', unknown: '0.75' });
  });

  it('is not resolved without the token of its form, nor by a viewer, who sees no form', async () => {
    const { id, tenantId } = await unknownCall('safe');
    const fields = { id, usd: '1', evidence: 'line', reason: 'test' };
    expect((await operator.post('/money/resolve', fields)).status).toBe(403);
    const viewer = await browserOf(fixture, 'viewer');
    expect((await viewer.get(`/money/call?id=${id}`)).text).not.toContain('/money/resolve');
    const token = hiddenFields((await viewer.get('/money')).text, '/logout');
    expect((await viewer.post('/money/resolve', { ...fields, ...token })).status).toBe(403);
    expect(await spentBy(tenantId)).toEqual({ spent: '0', unknown: '0.75' });
  });

  it('of an id that is none, or of another table, is not found', async () => {
    const fields = await formOf((await unknownCall('other')).id);
    const request = { ...fields, id: crypto.randomUUID(), usd: '1', evidence: 'x', reason: 'y' };
    expect((await operator.post('/money/resolve', request)).status).toBe(404);
    expect((await operator.get('/money/call?id=1')).status).toBe(400);
    expect((await operator.get('/money/call')).status).toBe(400);
  });
});

it('refused calls are listed by what refused them', async () => {
  const tenantId = await addTenant(sql(), { limitUsd: '100' });
  await refusedCall(sql(), await attemptOf(sql(), tenantId, 'refused'));
  const { text } = await operator.get(`/money?tenant=${tenantId}`);
  const row = /<tr>(?:(?!<\/tr>).)*month.*?<\/tr>/s.exec(text.slice(text.indexOf('Refused calls')));
  expect(row?.[0]).toContain('$1,000,000.00');
});
