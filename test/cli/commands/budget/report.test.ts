/** `purser budget report` and `purser budget unknown`. */
import { afterEach, describe, expect, it } from 'vitest';
import { attemptOf, callOf, refusedCall } from '../../../budget/report/calls.ts';
import { reserve } from '../../../support/holds.ts';
import { addTenant, removeTenants } from '../../../support/tenants.ts';
import { useCliDatabase } from '../../cli-database.ts';

const cli = useCliDatabase();
afterEach(async () => {
  await removeTenants(cli.sql);
});

/** A tenant with a settled call, an unknown one and a refused one. */
async function tenantWithCalls(): Promise<string> {
  const { sql } = cli;
  const tenantId = await addTenant(sql, { limitUsd: '100' });
  const attempt = await attemptOf(sql, tenantId, 'summarise');
  await callOf(sql, attempt, { hold: '0.5', cost: '0.125' });
  await callOf(sql, attempt, { hold: '0.25', ends: 'unknown' });
  await refusedCall(sql, attempt);
  return tenantId;
}

describe('budget report', () => {
  it('prints a table, CSV, JSON and FOCUS of the same figures', async () => {
    const tenantId = await tenantWithCalls();
    const month = new Date().toISOString().slice(0, 7);
    const report = (...args: string[]) =>
      cli.invoke('budget', 'report', '--month', month, '--tenant', tenantId, ...args);
    const table = (await report()).out;
    expect(table).toContain(`${month} (UTC)`);
    expect(table).toMatch(/summarise +openai +test-model +platform +0\.125 +0 +0\.25 .*0\.2500/);
    const [header, ...lines] = (await report('--format', 'csv')).out.split('\n');
    expect(header).toMatch(/^month,tenant,job_type,provider,model,spent_usd,held_usd,unknown_usd/);
    expect(lines.find((line) => line.includes('test-model'))).toContain(',0.125,0,0.25,');
    expect(JSON.parse((await report('--json')).out)).toMatchObject({
      month: `${month}-01`,
      total: { spentUsd: '0.125', unknownUsd: '0.25', refused: 1, holdEfficiency: '0.2500' },
    });
    const focus = (await report('--format', 'focus')).out.split('\n');
    expect(focus).toHaveLength(2);
    expect([focus[0]?.split(',')[0], focus[1]?.split(',')[0]]).toEqual(['BilledCost', '0.125']);
  });

  it('shows what own keys hold apart from budgets, and the page of budgets what they spent', async () => {
    const { sql } = cli;
    const tenantId = await addTenant(sql, { limitUsd: '0' });
    await sql`
      insert into llm_provider_keys (tenant_id, provider, api_key, encryption_key_version, last_four, set_by)
      values (${tenantId}, 'openai', 'token', 1, 'abcd', 'test')`;
    const attempt = await attemptOf(sql, tenantId, 'summarise');
    await reserve(sql, attempt, '0.5', { provider: 'openai', providerKey: 'own:openai' });
    const table = (await cli.invoke('budget', 'report', '--tenant', tenantId)).out;
    expect(table).toMatch(/own:openai \(apart\) +0 +0\.5 /);
    expect(table).toMatch(/\nall +0 +0 +0 /);
    expect(table).toMatch(/\nall apart from budgets +0 +0\.5 +0 /);
    expect(await cli.json('budget', 'show', '--tenant', tenantId)).toMatchObject([
      { reservedUsd: '0', ownReservedUsd: '0.5' },
    ]);
  });

  it('says that a month has no call, and refuses what is no month, format or tenant', async () => {
    expect(await cli.invoke('budget', 'report', '--month', '2020-01')).toMatchObject({
      code: 0,
      out: 'no LLM call in 2020-01 (UTC)',
    });
    const refusal = async (...args: string[]) => {
      const { code, err } = await cli.invoke('budget', 'report', ...args);
      return [code, err];
    };
    for (const month of ['2026-13', '2026-1', '1999-12', 'now', '', '2026-11-01', "2026-11'"]) {
      expect(await refusal('--month', month)).toEqual([
        64,
        expect.stringContaining('--month must be a month of UTC from 2000 on, e.g. 2026-11'),
      ]);
    }
    expect(await refusal('--format', 'xlsx')).toEqual([
      64,
      'there is no format "xlsx"; use table, csv, json, focus',
    ]);
    expect(await refusal('--format', 'csv', '--json')).toEqual([
      64,
      expect.stringContaining('not both'),
    ]);
    expect(await refusal('--tenant', 'nobody')).toEqual([1, expect.stringContaining('nobody')]);
  });
});

describe('budget unknown', () => {
  it('lists holds from the oldest or the dearest, with sums by age of all of them', async () => {
    const { sql } = cli;
    const tenantId = await addTenant(sql, { limitUsd: '100' });
    const attempt = await attemptOf(sql, tenantId, 'translate');
    const held = async (hold: string, hours: number): Promise<string> => {
      const id = await callOf(sql, attempt, { hold, ends: 'unknown' });
      await sql`
        update llm_reservations set sent_at = now() - ${hours}::float8 * interval '1 hour' where id = ${id}`;
      return id;
    };
    const [young, old, older] = [
      await held('0.5', 0.5),
      await held('0.25', 30),
      await held('2', 72),
    ];
    await callOf(sql, attempt, { hold: '7', cost: '1' });
    const list = async (...args: string[]) =>
      (await cli.json('budget', 'unknown', ...args)) as {
        holds: number;
        usd: string;
        ages: unknown[];
        oldest: { reservationId: string; ageSeconds: number }[];
      };
    const all = await list();
    expect(all).toMatchObject({
      holds: 3,
      usd: '2.75',
      ages: [
        { age: 'over 48 h', holds: 1, usd: '2' },
        { age: '24 to 48 h', holds: 1, usd: '0.25' },
        { age: '1 to 24 h', holds: 0, usd: '0' },
        { age: 'under 1 h', holds: 1, usd: '0.5' },
      ],
      oldest: [
        { reservationId: older, tenantId, jobType: 'translate', holdUsd: '2', requestId: null },
        { reservationId: old },
        { reservationId: young },
      ],
    });
    expect(Math.floor((all.oldest[0]?.ageSeconds ?? 0) / 3600)).toBe(72);
    const ids = async (...args: string[]) =>
      (await list(...args)).oldest.map(({ reservationId }) => reservationId);
    expect(await ids('--order', 'usd')).toEqual([older, young, old]);
    expect(await ids('--older-than', '1d')).toEqual([older, old]);
    expect(await ids('--limit', '1')).toEqual([older]);
    expect((await list('--limit', '1', '--older-than', '1h')).usd).toBe('2.25');
    const { out: page, err } = await cli.invoke('budget', 'unknown', '--limit', '1');
    expect(page).toMatch(/3 d +2 /);
    expect(err).toBe('1 of 3 holds; more with --limit');
    expect(page).toMatch(/all +3 +2\.75/);
    expect(page).toContain('purser budget resolve RESERVATION --usd USD');
    const other = await addTenant(sql);
    expect((await cli.invoke('budget', 'unknown', '--tenant', other)).out).toBe(
      'no hold is unknown',
    );
  });

  it('refuses what is no time, order or limit', async () => {
    for (const [args, says] of [
      [['--older-than', '2 days'], '--older-than must be a time such as 30m, 48h or 7d'],
      [['--older-than', '-1h'], '--older-than'],
      [['--order', 'cost'], 'there is no order "cost"; use age or usd'],
      [['--limit', '0'], '--limit must be a whole number from 1 to 100000'],
    ] as const) {
      const { code, err } = await cli
        .invoke('budget', 'unknown', ...args)
        .catch((error: Error) => ({ code: 64, err: error.message }));
      expect([code, err]).toEqual([64, expect.stringContaining(says)]);
    }
  });
});
