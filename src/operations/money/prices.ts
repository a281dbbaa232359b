/** An operator's acts on the prices of models. */
import { setPrice } from '../../budget/prices/set.ts';
import type { SetPriceRequest, SetPriceResult } from '../../budget/prices/set.ts';
import { syncPrices } from '../../budget/prices/sync.ts';
import type { SyncRequest, SyncResult } from '../../budget/prices/sync.ts';
import type { Sql } from '../../db/connect.ts';
import { recordAct } from '../audit.ts';
import type { Operator } from '../audit.ts';

/** Sets or ends a price; the price that is in force already is no act. Throws as `setPrice`. */
export async function setPriceAs(
  sql: Sql,
  operator: Operator,
  request: Omit<SetPriceRequest, 'by'>,
): Promise<SetPriceResult> {
  const { tenantId, provider, model, rates, reason } = request;
  return setPrice(sql, { ...request, by: operator.name }, (tx, { version, validFrom, before }) =>
    recordAct(tx, operator, {
      act: rates === null ? 'price_clear' : 'price_set',
      tenantId: tenantId ?? undefined,
      target: { model, provider, version, validFrom },
      reason,
      before,
      after: rates,
    }),
  );
}

/** The first of the changed prices are kept with the act; all are versions of the table. */
const keptPrices = 100;

/** A sync that adds no version is no act. Throws as `syncPrices`. */
export async function syncPricesAs(
  sql: Sql,
  operator: Operator,
  { reason, ...request }: Omit<SyncRequest, 'by'> & { readonly reason?: string | undefined },
): Promise<SyncResult> {
  const { providers, models, from } = request;
  return syncPrices(sql, { ...request, by: operator.name }, (tx, changes) => {
    const kept = changes.slice(0, keptPrices);
    return recordAct(tx, operator, {
      act: 'prices_sync',
      target: { providers, models, from },
      reason,
      affected: changes.length,
      before: kept.map(({ version, before }) => ({ version, rates: before })),
      after: kept.map(({ version, rates }) => ({ version, rates })),
    });
  });
}
