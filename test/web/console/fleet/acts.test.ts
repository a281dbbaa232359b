/** Every form of the pages does what it says, once, is led back to its page, and is on record. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Sql } from '../../../../src/db/connect.ts';
import { assertBooksRight } from '../../../support/ledger.ts';
import { addTenant } from '../../../support/tenants.ts';
import { addOperators, browserOf } from '../../access/access-fixture.ts';
import { hiddenFields } from '../../browser.ts';
import type { Browser } from '../../browser.ts';
import { startFixture } from '../../web-fixture.ts';
import type { WebFixture } from '../../web-fixture.ts';
import { arrangeFleet } from './arranged.ts';
import type { ArrangedFleet } from './arranged.ts';

let fixture: WebFixture;
let operator: Browser;
let fleet: ArrangedFleet;
let csrf: Record<string, string>;
let sql: Sql;
let tenantId: string;
beforeAll(async () => {
  fixture = await startFixture();
  sql = fixture.database.system;
  await addOperators(fixture);
  operator = await browserOf(fixture, 'operator');
  fleet = await arrangeFleet(sql);
  csrf = hiddenFields((await operator.get('/pauses')).text, '/pauses/pause');
});
beforeEach(async () => {
  tenantId = await addTenant(sql);
});
afterAll(async () => {
  await assertBooksRight(sql);
  await fixture.close();
});

/** Sends a form as it stands on the page, and returns what its page says then, and the newest act on record. */
async function send(page: string, action: string, fields: Record<string, string>) {
  const { text: form } = await operator.get(page);
  expect(form).toContain(`action="${action}"`);
  const answer = await operator.post(action, { ...csrf, reason: 'because', ...fields });
  expect([answer.status, answer.text]).toEqual([303, '']);
  const location = answer.headers.get('location') ?? '';
  expect(location).toMatch(/^\/[a-z]/);
  const { status, text } = await operator.get(location);
  expect([location, status]).toEqual([location, 200]);
  const [act] = await sql`
    select act, operator, door, proof, reason from operator_acts order by id desc limit 1`;
  return { says: /<p class="notice good"[^>]*>(.*?)<\/p>/s.exec(text)?.[1] ?? '', act };
}

const done = (act: string) => ({
  act,
  operator: 'the operator',
  door: 'console',
  proof: 'session',
  reason: 'because',
});

const unescaped = (value: string): string =>
  value.replaceAll('&quot;', '"').replaceAll('&lt;', '<').replaceAll('&gt;', '>');

const limitOf = async () =>
  (
    await sql`
      select trim_scale(monthly_limit_usd)::text as usd, hard_limit as hard, trim_scale(top_up_usd)::text as top_up
      from llm_budget_status where tenant_id = ${tenantId}`
  )[0];

describe('a budget', () => {
  it('is set and topped up', async () => {
    const page = `/budgets/${tenantId}`;
    const set = await send(page, '/budgets/set', { tenant: tenantId, usd: '25.5', limit: 'soft' });
    expect(set.act).toEqual(done('budget_set'));
    expect(set.says).toContain('The monthly limit is set');
    const added = await send(page, '/budgets/top-up', { tenant: tenantId, usd: '3' });
    expect(added.act).toEqual(done('budget_top_up'));
    expect(await limitOf()).toEqual({ usd: '25.5', hard: false, top_up: '3' });
    expect((await operator.get(page)).text).toContain('$28.50');
  });

  it('has further limits, which are set, changed and removed', async () => {
    const page = `/budgets/${tenantId}`;
    const scope = { tenant: tenantId, kind: 'model', subject: 'gpt', each: 'day' };
    const values = { usd: '2', calls: '10', zone: 'Europe/Berlin', limit: 'hard' };
    const set = await send(page, '/budgets/set-scope', { ...scope, ...values });
    expect(set.act).toEqual(done('scope_set'));
    expect(set.says).toContain('added');
    const changed = await send(page, '/budgets/set-scope', { ...scope, ...values, calls: '' });
    expect(changed.says).toContain('changed');
    const [stored] = await sql`
      select kind, subject, period, time_zone, trim_scale(limit_usd)::text as usd, limit_calls from llm_scopes
      where tenant_id = ${tenantId}`;
    expect(stored).toEqual({
      kind: 'model',
      subject: 'gpt',
      period: 'day',
      time_zone: 'Europe/Berlin',
      usd: '2',
      limit_calls: null,
    });
    const { usd: _usd, ...target } = { ...scope, usd: '' };
    const removed = await send(page, '/budgets/remove-scope', target);
    expect(removed.act).toEqual(done('scope_remove'));
    expect(await sql`select from llm_scopes where tenant_id = ${tenantId}`).toEqual([]);
  });

  it.each([
    ['/budgets/set', { usd: 'ten', limit: 'hard' }, 400, 'usd'],
    ['/budgets/set', { usd: '1', limit: 'none' }, 400, 'limit'],
    ['/budgets/set', { usd: '1', limit: 'hard', tenant: 'nobody' }, 404, 'nobody'],
    ['/budgets/set', { usd: '1', limit: 'hard', tenant: '' }, 400, 'tenant'],
    ['/budgets/top-up', { usd: '0' }, 400, 'top-up'],
    ['/budgets/top-up', { usd: '1', tenant: '\0' }, 400, 'tenant'],
    ['/budgets/top-up', { usd: '1', reason: '' }, 400, 'reason'],
    ['/budgets/set-scope', { kind: 'moon', each: 'day', limit: 'hard', usd: '1' }, 400, 'kind'],
    ['/budgets/set-scope', { kind: 'model', each: 'day', limit: 'hard' }, 400, 'dollars'],
    ['/budgets/set-scope', { kind: 'job', each: 'day', limit: 'hard', usd: '1' }, 400, 'period'],
    [
      '/budgets/set-scope',
      { kind: 'model', each: 'day', limit: 'hard', usd: '1', zone: 'Mars' },
      400,
      'Mars',
    ],
    ['/budgets/close-breaker', { breaker: 'model:none' }, 404, 'model:none'],
    ['/budgets/lift-stop', {}, 400, 'stop'],
  ])('refuses %s %j', async (action, fields, status, says) => {
    const acts = async () => (await sql`select count(*)::int as n from operator_acts`)[0];
    const before = await acts();
    const form =
      action.includes('/budgets/c') || action.includes('lift') ? {} : { tenant: tenantId };
    const sent = { ...csrf, reason: 'because', ...form, ...fields };
    const answer = await operator.post(action, sent);
    expect([action, answer.status]).toEqual([action, status]);
    expect(answer.text).toContain(says);
    expect(await acts()).toEqual(before);
  });

  it('stops are lifted and circuit breakers closed', async () => {
    const lift = hiddenFields((await operator.get('/budgets')).text, '/budgets/lift-stop');
    const read = Object.entries(lift).map(([name, value]) => [name, unescaped(value)] as const);
    const lifted = await send('/budgets', '/budgets/lift-stop', Object.fromEntries(read));
    expect(lifted.act).toEqual(done('llm_resume'));
    expect(await sql`select from llm_stops`).toEqual([]);
    const close = (await operator.get('/budgets')).text;
    const fields = hiddenFields(close, '/budgets/close-breaker');
    const [breaker] = await sql<
      { name: string }[]
    >`select kind || ':' || key as name from llm_breakers`;
    const closed = await send('/budgets', '/budgets/close-breaker', {
      ...fields,
      breaker: breaker?.name ?? '',
    });
    expect(closed.act).toEqual(done('breaker_reset'));
    expect(await sql`select state from llm_breakers`).toEqual([{ state: 'closed' }]);
  });
});

describe('a schedule', () => {
  const enabled = async (of: string) =>
    (
      await sql`
      select enabled from tenant_schedules where tenant_id = ${of} and job_type = ${fleet.jobType}`
    )[0];

  it('of a cohort is paused and resumed', async () => {
    const cohort = { type: fleet.jobType, cohort: 'high_value' };
    const resumed = await send('/schedules', '/schedules/resume', cohort);
    expect(resumed.act).toEqual(done('schedule_resume'));
    const paused = await send('/schedules', '/schedules/pause', cohort);
    expect(paused.act).toEqual(done('schedule_pause'));
    const rows =
      await sql`select cohort, enabled from schedules where job_type = ${fleet.jobType} order by 1`;
    expect(rows).toEqual([
      { cohort: 'active', enabled: true },
      { cohort: 'high_value', enabled: false },
    ]);
  });

  it('of a tenant is paused, resumed and run now', async () => {
    const page = `/schedules?tenant=${tenantId}`;
    const target = { type: fleet.jobType, tenant: tenantId };
    expect((await send(page, '/schedules/pause', target)).act).toEqual(done('schedule_pause'));
    expect(await enabled(tenantId)).toEqual({ enabled: false });
    expect((await send(page, '/schedules/resume', target)).act).toEqual(done('schedule_resume'));
    expect(await enabled(tenantId)).toEqual({ enabled: true });
    const ran = await send(page, '/schedules/run', target);
    expect(ran.act).toEqual(done('schedule_run'));
    const [job] = await sql<{ id: string }[]>`select id from jobs where tenant_id = ${tenantId}`;
    expect(ran.says).toContain(`/jobs/${job?.id}`);
  });

  it.each([
    ['/schedules/pause', { type: 'no_such_type' }, 404],
    ['/schedules/pause', { type: 'Not A Type' }, 404],
    ['/schedules/pause', { type: '' }, 400],
    ['/schedules/pause', { type: 'report' }, 404],
    ['/schedules/pause', { cohort: 'best' }, 400],
    ['/schedules/run', { tenant: 'nobody' }, 404],
    ['/schedules/run', { tenant: '' }, 400],
    ['/schedules/run', { reason: '' }, 400],
  ])('refuses %s %j', async (action, fields, status) => {
    const sent = { ...csrf, reason: 'because', type: fleet.jobType, ...fields };
    const answer = await operator.post(action, sent);
    expect([action, answer.status]).toEqual([action, status]);
  });
});

describe('work', () => {
  it('of a worker is drained, and the drain undone', async () => {
    const worker = { worker: fleet.workerId };
    const undone = await send('/workers', '/workers/undo-drain', worker);
    expect(undone.act).toEqual(done('drain_undo'));
    const drained = await send('/workers', '/workers/drain', worker);
    expect(drained.act).toEqual(done('drain'));
    const [row] = await sql`
      select drain_requested ->> 'by' as by from heartbeats where process_id = ${fleet.workerId}`;
    expect(row).toEqual({ by: 'the operator' });
    expect((await send('/workers', '/workers/undo-drain', worker)).says).toContain('takes jobs');
    const none = await operator.post('/workers/drain', { ...csrf, reason: 'x', worker: 'nobody' });
    expect(none.status).toBe(404);
  });

  it('of a tenant is paused, stopped and resumed', async () => {
    const target = { scope: 'tenant', name: tenantId };
    const stops = async () =>
      sql`select stops, by, reason from pauses where scope = 'tenant' and name = ${tenantId}`;
    expect((await send('/pauses', '/pauses/pause', target)).act).toEqual(done('pause'));
    expect(await stops()).toEqual([{ stops: false, by: 'the operator', reason: 'because' }]);
    expect((await send('/pauses', '/pauses/stop', target)).act).toEqual(done('stop'));
    expect(await stops()).toEqual([{ stops: true, by: 'the operator', reason: 'because' }]);
    expect((await send('/pauses', '/pauses/resume', target)).act).toEqual(done('resume'));
    expect(await stops()).toEqual([]);
  });

  it.each([
    [{ scope: 'tenant' }, 400],
    [{ scope: 'all', name: 'x' }, 400],
    [{ scope: 'moon', name: 'x' }, 400],
    [{ scope: 'tenant', name: 'nobody' }, 404],
    [{ scope: 'job_type', name: 'nothing' }, 404],
    [{ scope: 'all', reason: ' ' }, 400],
  ])('is not paused, stopped or resumed by %j', async (fields, status) => {
    for (const action of ['/pauses/pause', '/pauses/stop', '/pauses/resume']) {
      const answer = await operator.post(action, { ...csrf, reason: 'because', ...fields });
      expect([action, answer.status]).toEqual([action, status]);
    }
  });
});
