/** Calls in the ledger with times, usage and prices of their own, without a provider. */
import type { PinnedPrice } from '../../../src/budget/pinned-price.ts';
import { markUnknown, recordUsage } from '../../../src/budget/settle.ts';
import type { Sql } from '../../../src/db/connect.ts';
import { reserve } from '../../support/holds.ts';
import { addTenant, startAttempt } from '../../support/tenants.ts';

/** 1 USD per million tokens of input, 5 of output: multiples of a micro-dollar. */
export const plainPrice: PinnedPrice = {
  source: 'test',
  model: 'plain',
  rates: { input: { usd: '1' }, output: { usd: '5' } },
};

export interface LedgerCallFixture {
  readonly provider?: string;
  readonly model?: string;
  readonly servedModel?: string;
  readonly tier?: string;
  readonly sentAt: string;
  readonly endedAt?: string;
  readonly hold?: string;
  readonly price?: PinnedPrice;
  /** Absent: the cost stays unknown. */
  readonly usage?: { readonly input: number; readonly output: number; readonly cached?: number };
}

export async function callAt(sql: Sql, fixture: LedgerCallFixture): Promise<string> {
  const { provider = 'openai', model = 'plain', price = plainPrice, usage } = fixture;
  const attempt = await startAttempt(sql, await addTenant(sql, { limitUsd: '100000' }));
  const { reservationId } = await reserve(sql, attempt, fixture.hold ?? '0.01', {
    provider,
    model,
    price,
  });
  if (usage === undefined) await markUnknown(sql, { reservationId });
  else {
    const { input, output, cached = 0 } = usage;
    const per = 1_000_000;
    await recordUsage(sql, {
      reservationId,
      items: [
        { class: 'input', count: input, usd: price.rates.input?.usd ?? '0', per },
        ...(cached === 0
          ? []
          : [
              {
                class: 'cache_read',
                count: cached,
                usd: price.rates.cache_read?.usd ?? '0',
                per,
              } as const,
            ]),
        { class: 'output', count: output, usd: price.rates.output?.usd ?? '0', per },
      ],
      servedModel: fixture.servedModel,
      serviceTier: fixture.tier,
    });
  }
  const { sentAt, endedAt = sentAt } = fixture;
  await sql`
    update llm_reservations set created_at = ${sentAt}, sent_at = ${sentAt}, closed_at = ${endedAt},
      expires_at = ${sentAt}::timestamptz + interval '2 minutes'
    where id = ${reservationId}`;
  return reservationId;
}

/** Rows of the dashboard's export: day, model and cell, amount, quantity. */
export function costsFile(
  rows: readonly (readonly [string, string | null, string, string?])[],
): string {
  const lines = rows.map(([day, item, amount, quantity = '']) => {
    const start = Date.parse(`${day}T00:00:00Z`) / 1000;
    return `${start},${start + 86_400},${amount},${amount === '' ? '' : 'usd'},${quantity},"${item ?? ''}"`;
  });
  return `start_time,end_time,amount_value,amount_currency,quantity,line_item\n${lines.join('\n')}\n`;
}
