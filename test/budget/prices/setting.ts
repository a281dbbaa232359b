/** Sets prices of a file's database in short form. */
import type { Rates } from '../../../src/budget/pinned-price.ts';
import { setPrice } from '../../../src/budget/prices/set.ts';
import type { SetPriceRequest, SetPriceResult } from '../../../src/budget/prices/set.ts';
import type { Sql } from '../../../src/db/connect.ts';

export const ratesOf = (usd: string): Rates => ({ input: { usd }, output: { usd } });

export const day = (text: string): Date => new Date(`${text}T00:00:00Z`);

/** Sets an input and output rate of `usd`; null ends the price. */
export function set(
  sql: Sql,
  model: string,
  usd: string | null,
  scope: Partial<Pick<SetPriceRequest, 'tenantId' | 'provider' | 'from'>> = {},
): Promise<SetPriceResult> {
  const rates = usd === null ? null : ratesOf(usd);
  const request = { tenantId: null, provider: null, ...scope, model, rates };
  return setPrice(sql, { ...request, by: 'test', reason: 'test' });
}
