/** The monthly report: its sums are those of the ledger, whatever became of the calls, jobs and tenants. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { reportCsv } from '../../../src/budget/report/csv.ts';
import { plainCell } from '../../../src/budget/report/csv-text.ts';
import { dailyCosts } from '../../../src/budget/report/daily.ts';
import { formatUsd, parseUsd } from '../../../src/budget/money.ts';
import { budgetReport } from '../../../src/budget/report/report.ts';
import { recordUsage, releaseReservation } from '../../../src/budget/settle.ts';
import type { Sql } from '../../../src/db/connect.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { reserve, settlementOf } from '../../support/holds.ts';
import { assertBooksRight } from '../../support/ledger.ts';
import { addTenant, removeTenants } from '../../support/tenants.ts';
import { finish } from '../../jobs/job-steps.ts';
import { attemptOf, callOf, refusedCall } from './calls.ts';

let database: TestDatabase;
let sql: Sql;
beforeAll(async () => {
  database = await freshDatabase();
  sql = database.sql;
});
afterAll(async () => {
  await assertBooksRight(sql);
  await database.close();
});

const limited = () => addTenant(sql, { limitUsd: '100' });

describe('budgetReport', () => {
  it('sums what each job type spent, holds and does not know, per model, to the nano-dollar', async () => {
    const tenantId = await limited();
    const attempt = await attemptOf(sql, tenantId, 'summarise');
    await callOf(sql, attempt, { hold: '0.9', cost: '0.300000001', model: 'large' });
    await callOf(sql, attempt, { hold: '0.1', cost: '0.000000001', model: 'large' });
    await callOf(sql, attempt, { hold: '0.25', ends: 'unknown', model: 'large' });
    await callOf(sql, attempt, { hold: '0.5', ends: 'held', model: 'small' });
    const { reservationId } = await reserve(sql, attempt, '7');
    await releaseReservation(sql, { reservationId });
    const other = await attemptOf(sql, tenantId, 'translate');
    await callOf(sql, other, { hold: '1', cost: '1.5', provider: 'google', model: 'large' });

    const { rows, total } = await budgetReport(sql, { tenantId });
    expect(rows).toEqual([
      {
        tenantId,
        jobType: 'summarise',
        provider: 'openai',
        model: 'large',
        providerKey: 'platform',
        countsApart: false,
        spentUsd: '0.300000002',
        heldUsd: '0',
        unknownUsd: '0.25',
        refused: 0,
        calls: 3,
        settledCalls: 2,
        unknownCalls: 1,
        settledHoldUsd: '1',
        holdEfficiency: '0.3000',
      },
      expect.objectContaining({
        model: 'small',
        spentUsd: '0',
        heldUsd: '0.5',
        holdEfficiency: null,
      }),
      expect.objectContaining({ provider: 'test', calls: 1, heldUsd: '0', settledCalls: 0 }),
      expect.objectContaining({ jobType: 'translate', spentUsd: '1.5', holdEfficiency: '1.5000' }),
    ]);
    expect(total).toMatchObject({
      spentUsd: '1.800000002',
      heldUsd: '0.5',
      unknownUsd: '0.25',
      calls: 6,
      holdEfficiency: '0.9000',
    });
  });

  it("counts a call in its reservation's month, also when it is settled in the next one", async () => {
    const tenantId = await limited();
    const attempt = await attemptOf(sql, tenantId, 'night');
    const lastSecond = new Date('2026-01-31T23:59:59Z');
    await callOf(sql, attempt, { hold: '2', cost: '0.25', now: new Date('2026-01-15T12:00:00Z') });
    await callOf(sql, attempt, { hold: '2', cost: '0.25', now: lastSecond });
    await callOf(sql, attempt, { hold: '2', cost: '0.25', now: new Date('2026-02-01T00:00:00Z') });
    const spentIn = async (month: string) =>
      (await budgetReport(sql, { tenantId, month })).total.spentUsd;
    expect(await spentIn('2026-01-01')).toBe('0.5');
    expect(await spentIn('2026-02-01')).toBe('0.25');
    expect(await spentIn('2026-03-01')).toBe('0');
    const { days } = await dailyCosts(sql, { tenantId, month: '2026-01-01' });
    expect(days).toMatchObject([
      { day: '2026-01-15', spentUsd: '0.25', tokens: '15', calls: 1 },
      { day: '2026-01-31', spentUsd: '0.25', tokens: '15', calls: 1 },
    ]);
  });

  it('has no unknown money of a call that was settled late', async () => {
    const tenantId = await limited();
    const attempt = await attemptOf(sql, tenantId, 'late');
    const reservationId = await callOf(sql, attempt, { hold: '2', ends: 'unknown' });
    await recordUsage(sql, settlementOf(reservationId, '0.75'));
    expect((await budgetReport(sql, { tenantId })).total).toMatchObject({
      spentUsd: '0.75',
      unknownUsd: '0',
      unknownCalls: 0,
      settledCalls: 1,
    });
  });

  it('counts refused attempts, parked or ended for good, and no other end', async () => {
    const tenantId = await limited();
    await refusedCall(sql, await attemptOf(sql, tenantId, 'parking'));
    await refusedCall(sql, await attemptOf(sql, tenantId, 'parking'));
    await refusedCall(sql, await attemptOf(sql, tenantId, 'ending'), 'dead_letter');
    await finish(sql, await attemptOf(sql, tenantId, 'parking'), {
      toState: 'failed',
      error: { code: 'llm_timeout', message: 'no answer' },
    });
    const { rows, total } = await budgetReport(sql, { tenantId });
    const refusedOf = (type: string) =>
      rows.filter(({ jobType }) => jobType === type).reduce((sum, row) => sum + row.refused, 0);
    expect([refusedOf('parking'), refusedOf('ending'), total.refused]).toEqual([2, 1, 3]);
    for (const month of ['2020-01-01', '2999-12-01']) {
      expect((await budgetReport(sql, { tenantId, month })).total.refused).toBe(0);
    }
  });

  it('keeps the money of a deleted job and of a deleted tenant', async () => {
    const tenantId = await limited();
    const attempt = await attemptOf(sql, tenantId, 'forgotten');
    await callOf(sql, attempt, { hold: '2', cost: '0.125' });
    await finish(sql, attempt);
    await sql`delete from jobs where id = ${attempt.jobId}::bigint`;
    const { rows } = await budgetReport(sql, { tenantId });
    expect(rows).toMatchObject([{ model: 'test-model', spentUsd: '0.125', settledCalls: 1 }]);
    await removeTenants(sql, tenantId);
    const after = await budgetReport(sql, { tenantId });
    expect(after.rows).toMatchObject([{ jobType: '', provider: '', model: '', spentUsd: '0.125' }]);
    const { days } = await dailyCosts(sql, { tenantId });
    expect(days).toMatchObject([{ spentUsd: '0.125', model: '' }]);
  });

  it('agrees with the counters of every budget together, and by day', async () => {
    const [period] = await sql<{ month: string; spent: string; held: string; unknown: string }[]>`
      select period_start::text as month, sum(spent_usd) as spent, sum(reserved_usd) as held,
        sum(unknown_usd) as unknown
      from llm_budget_periods group by 1 order by 1 desc limit 1`;
    const deleted = await sql<{ spent: string }[]>`
      select coalesce(sum(spent_delta_usd), 0) as spent from llm_ledger
      where budget_id in (select budget_id from llm_deleted_budgets)`;
    const { total } = await budgetReport(sql);
    const exact = (text = '0') => parseUsd(text);
    expect(exact(total.spentUsd)).toBe(exact(period?.spent) + exact(deleted[0]?.spent));
    expect([exact(total.heldUsd), exact(total.unknownUsd)]).toEqual([
      exact(period?.held),
      exact(period?.unknown),
    ]);
    const { days } = await dailyCosts(sql);
    const byDay = days.reduce((sum, { spentUsd }) => sum + parseUsd(spentUsd), 0n);
    expect(formatUsd(byDay)).toBe(total.spentUsd);
  });
});

describe('reportCsv', () => {
  it('writes texts that a spreadsheet would compute as texts, and quotes what needs it', async () => {
    const sums = {
      spentUsd: '0.1',
      heldUsd: '0',
      unknownUsd: '0',
      refused: 1,
      calls: 2,
      settledCalls: 1,
      unknownCalls: 0,
      settledHoldUsd: '0.2',
      holdEfficiency: null,
    };
    const row = {
      ...sums,
      tenantId: '=HYPERLINK("http://evil.example/","x"),1',
      jobType: '',
      provider: 'openai',
      model: '+vllm/m\u00fcller',
      providerKey: '=own',
      countsApart: true,
    };
    const report = { month: '2026-11-01', at: new Date(), total: sums, apart: sums, rows: [row] };
    expect(reportCsv(report)).toEqual([
      'month,tenant,job_type,provider,model,spent_usd,held_usd,unknown_usd,refused,calls,settled_calls,' +
        'unknown_calls,settled_hold_usd,hold_efficiency,provider_key,counts',
      `2026-11,"'=HYPERLINK(""http://evil.example/"",""x""),1","",openai,'+vllm/m\u00fcller,0.1,0,0,1,2,1,0,0.2,,'=own,apart`,
    ]);
  });

  it.each(['=1', '+1', '-1', '@a', '\t=1', ' =1', '\r\n=1', '\uff1d1', '\uff20a'])(
    'takes %j for no formula',
    (text) => {
      expect(plainCell(text)).toBe(`'${text}`);
    },
  );

  it.each(['tenant-1', 'a=b', "o'neil", ''])('leaves %j as it is', (text) => {
    expect(plainCell(text)).toBe(text);
  });
});
