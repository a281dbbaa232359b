import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Tx } from '../../../src/db/connect.ts';
import {
  idleResources,
  newestChargeDay,
  totalsByCurrency,
  totalsByService,
  usageByServiceAndDay,
} from '../../../src/costs/analysis/queries.ts';
import type { Periods } from '../../../src/costs/analysis/queries.ts';
import { openBench } from '../../handlers/handler-bench.ts';
import type { HandlerBench } from '../../handlers/handler-bench.ts';

let bench: HandlerBench;

const periods: Periods = {
  current: { from: '2026-06-01', to: '2026-07-01' },
  previous: { from: '2026-05-02', to: '2026-06-01' },
  currency: 'USD',
};

/** 40 tenants with 1,000 rows each over two years. */
beforeAll(async () => {
  bench = await openBench();
  const { sql } = bench.test;
  await sql`insert into tenants (id) select 'many-' || n from generate_series(1, 40) n`;
  await sql`
    insert into ingest_uploads (tenant_id, file_name, file_hash)
    select id, 'many.csv', repeat('0', 64) from tenants`;
  await sql`
    insert into cost_deliveries (tenant_id, source, billing_period, file_hash, upload_id, row_count)
    select tenant_id, 'many', '2026-06-01', file_hash, id, 1000 from ingest_uploads`;
  await sql`
    insert into cost_records (delivery_id, line, tenant_id, provider_name, billing_account_id, service_name,
      charge_category, charge_period_start, charge_period_end, billing_currency, billed_cost,
      consumed_quantity, resource_id)
    select d.id, n, d.tenant_id, 'AWS', '1', 'service ' || n % 7, 'Usage', at, at + interval '1 day', 'USD',
           1.5, n % 3, 'r-' || n % 50
    from cost_deliveries d, generate_series(1, 1000) n,
         lateral (select timestamptz '2024-07-01 00:00:00Z' + n % 730 * interval '1 day' as at) t`;
  await sql`analyze cost_records`;
});
afterAll(async () => {
  await bench.close();
});

const queries: readonly (readonly [string, (tx: Tx) => Promise<unknown>])[] = [
  ['the newest charge', (tx) => newestChargeDay(tx)],
  ['totals per currency', (tx) => totalsByCurrency(tx, periods.current)],
  ['totals per service', (tx) => totalsByService(tx, periods)],
  ['usage per service and day', (tx) => usageByServiceAndDay(tx, periods)],
  ['idle resources', (tx) => idleResources(tx, periods)],
];

it.each(queries)(
  '%s: uses an index under row-level security, not a table scan',
  async (_name, query) => {
    const scans = await bench.asTenant('many-7', (sql) =>
      sql.begin(async (tx) => {
        const answer = await query(tx);
        expect(answer).not.toEqual([]);
        const [counted] = await tx<{ table: number; index: number }[]>`
        select seq_scan::int as table, idx_scan::int as index
        from pg_stat_xact_user_tables where relname = 'cost_records'`;
        return counted;
      }),
    );
    expect(scans?.table).toBe(0);
    expect(scans?.index).toBeGreaterThan(0);
  },
);

it('sums are exact, of one tenant and of the right days', async () => {
  const [total] = await bench.asTenant('many-7', (sql) =>
    sql.begin((tx) => totalsByCurrency(tx, { from: '2024-07-02', to: '2024-07-04' })),
  );
  // Days 1 and 2 after the first: n = 1, 2, 731 and 732.
  expect(total).toEqual({ currency: 'USD', rows: 4, cost: '6' });
});
