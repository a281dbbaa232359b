/** Calls at prices that are corrected later, for a file's database. */
import { afterAll, afterEach, beforeAll } from 'vitest';
import { billOf } from '../../../src/budget/bill.ts';
import { formatUsd } from '../../../src/budget/money.ts';
import type { PinnedPrice, Rates } from '../../../src/budget/pinned-price.ts';
import { priceInForce } from '../../../src/budget/prices/in-force.ts';
import { setPrice } from '../../../src/budget/prices/set.ts';
import { rerate } from '../../../src/budget/rerate/rerate.ts';
import type { Rerating, RerateRequest } from '../../../src/budget/rerate/rerate.ts';
import { markUnknown, recordUsage } from '../../../src/budget/settle.ts';
import type { UsageCounts } from '../../../src/budget/usage-classes.ts';
import { connect } from '../../../src/db/connect.ts';
import type { Sql } from '../../../src/db/connect.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { reserve } from '../../support/holds.ts';
import { assertBooksRight } from '../../support/ledger.ts';
import { startAttempt } from '../../support/tenants.ts';
import { day, set } from '../prices/setting.ts';

export const million: UsageCounts = { input: 1_000_000, output: 2_000_000 };

interface CallOptions {
  readonly at?: Date;
  readonly counts?: UsageCounts;
  readonly factor?: string;
  readonly serviceTier?: string;
  readonly more?: readonly { class: string; usd: string }[];
  readonly uncovered?: readonly string[];
  readonly end?: 'settled' | 'unknown' | 'running';
}

export const linesOf = ({ sums }: Rerating): string[] =>
  sums.map(
    ({ tenantId, month, calls, beforeNanoUsd, afterNanoUsd }) =>
      `${tenantId} ${month} ${calls} ${formatUsd(beforeNanoUsd)} -> ${formatUsd(afterNanoUsd)}`,
  );

export const leftOf = ({ left }: Rerating): string[] =>
  left.map(({ reason, detail, calls }) => `${calls} ${reason} ${detail ?? ''}`.trim()).toSorted();

export function useRatedCalls() {
  let database: TestDatabase;
  let sql: Sql;
  let wide: Sql;
  beforeAll(async () => {
    database = await freshDatabase();
    ({ sql } = database);
    wide = connect(database.url, { max: 4, applicationName: 'purser test operators' });
  });
  afterEach(() => assertBooksRight(sql));
  afterAll(async () => {
    await wide.end({ timeout: 5 });
    await database.close();
  });

  let models = 0;
  /** A model with a price of `usd` per million tokens since 2026. */
  async function pricedModel(usd = '1'): Promise<string> {
    models += 1;
    const model = `model-${models}`;
    await set(sql, model, usd, { from: day('2026-01-01') });
    return model;
  }

  async function pinned(tenantId: string, model: string, at: Date): Promise<PinnedPrice> {
    const price = await priceInForce(sql, { tenantId, model, provider: 'groq', at });
    if (price === undefined) throw new Error('no price');
    return price;
  }

  /** One call with a hold of $5, by default of 3 million tokens in March, settled at the price of its model. */
  async function call(tenantId: string, model: string, options: CallOptions = {}): Promise<string> {
    const { at = day('2026-03-10'), counts = million, factor = '1', end = 'settled' } = options;
    const price = await pinned(tenantId, model, at);
    const attempt = await startAttempt(sql, tenantId);
    const { reservationId } = await reserve(sql, attempt, '5', { model, price, now: at });
    if (end === 'unknown') await markUnknown(sql, { reservationId, now: at });
    if (end !== 'settled') return reservationId;
    const { items, uncovered } = billOf(price, counts, factor);
    const more = (options.more ?? []).map((item) => ({ ...item, count: 1, per: 1 }) as const);
    await recordUsage(sql, {
      reservationId,
      items: [...items, ...more],
      serviceTier: options.serviceTier,
      uncovered: options.uncovered ?? uncovered,
      now: at,
    });
    return reservationId;
  }

  const correct = (model: string, rates: Rates, from = '2026-01-01') =>
    setPrice(sql, {
      tenantId: null,
      provider: null,
      model,
      rates,
      from: day(from),
      by: 'grace',
      reason: 'wrong',
    });

  const run = (model: string, options: Partial<RerateRequest> = {}, on = sql): Promise<Rerating> =>
    rerate(on, {
      model,
      from: day('2026-01-01'),
      to: day('2027-01-01'),
      factors: ['1', '0.5', '1.1', '2.5', '6'],
      ...options,
    });

  const ledgerOf = async (reservationId: string): Promise<string[]> => {
    const rows = await sql<{ event: string; spent: string; month: string }[]>`
      select event, trim_scale(spent_delta_usd) as spent, period_start::text as month
      from llm_ledger where reservation_id = ${reservationId} order by id`;
    return rows.map(({ event, spent, month }) => `${event} ${spent} ${month.slice(0, 7)}`);
  };

  return {
    get sql() {
      return sql;
    },
    /** Of several connections. */
    get wide() {
      return wide;
    },
    pricedModel,
    pinned,
    call,
    correct,
    run,
    ledgerOf,
  };
}
