/** `purser budget reconcile`: what it prints, records and refuses. */
import { gzipSync } from 'node:zlib';
import { afterEach, describe, expect, it } from 'vitest';
import { useFolder } from '../../../budget/reconcile/bench.ts';
import { callAt, costsFile } from '../../../budget/reconcile/ledger-calls.ts';
import { useCliDatabase } from '../../cli-database.ts';
import { removeTenants } from '../../../support/tenants.ts';

const cli = useCliDatabase();
const folder = useFolder();
afterEach(async () => {
  await removeTenants(cli.sql);
});

const noon = '2026-11-10T12:00:00Z';
const usage = { input: 1000, output: 200 };

async function reconciled(content: string | Buffer, ...args: string[]) {
  const path = await folder.write('costs.csv', content);
  const provider = args.includes('--provider') ? [] : ['--provider', 'openai'];
  return cli.invoke('budget', 'reconcile', ...provider, '--file', path, ...args);
}

describe('budget reconcile', () => {
  it('tells the drift, changes nothing, and records what is decided by --apply, once', async () => {
    const { sql } = cli;
    await callAt(sql, { sentAt: noon, usage });
    const unknown = await callAt(sql, { sentAt: noon });
    const file = costsFile([['2026-11-10', 'plain, input', '0.00330000']]);
    const told = await reconciled(file);
    expect([told.code, told.err]).toEqual([1, '']);
    expect(told.out).toContain(
      'openai-costs: 1 rows, 2026-11-10 to 2026-11-10; 1 of 1 buckets matched',
    );
    expect(told.out).toContain('file 0.0033 USD, ledger 0.012 USD, drift -0.0087 USD');
    expect(told.out).toContain('1 costs are decided; --apply --reason TEXT records them');
    const statusOf = async () =>
      (await sql`select status from llm_reservations where id = ${unknown}`)[0]?.['status'];
    expect(await statusOf()).toBe('UNKNOWN');
    const apply = ['--apply', '--by', 'alice', '--reason', 'the export of November'];
    const applied = await reconciled(gzipSync(file), ...apply);
    expect([applied.code, applied.err]).toEqual([0, '']);
    expect(applied.out).toContain('1 costs recorded');
    expect(await statusOf()).toBe('APPLIED');
    const again = await reconciled(file, ...apply, '--json');
    expect(again.code).toBe(0);
    expect(JSON.parse(again.out)).toMatchObject({
      driftUsd: '0',
      unknown: [],
      applied: { resolved: 0, failed: [] },
    });
  });

  it('exits 1 where a bucket differs, and names it', async () => {
    await callAt(cli.sql, { sentAt: noon, usage });
    const { code, out } = await reconciled(
      costsFile([['2026-11-10', 'plain, input', '0.00330000']]),
    );
    expect(code).toBe(1);
    expect(out).toMatch(/2026-11-10 +plain +standard +0\.0033 +0\.002 .* unexplained 0\.0013/);
  });

  it('notes pages that are missing, and lines of a log that has no times', async () => {
    const page = JSON.stringify({
      data: [
        {
          start_time: 1_790_553_600,
          end_time: 1_790_640_000,
          results: [{ amount: { value: 0.5 } }],
        },
      ],
      has_more: true,
    });
    expect((await reconciled(page)).err).toContain('is not the last one (has_more)');
    const log = await reconciled('client_request_id,cost\nx,0.5\n');
    expect(log.err).toContain('the log has no times: name its range by --from and --to');
    expect(log.out).toContain('missing_in_ledger');
  });
});
