/** An operator's own price of a model, for all tenants or for one. */
import { codeOf, PurserError } from '../../errors.ts';
import type { Queryable, Sql, Tx } from '../../db/connect.ts';
import { mapStoreErrors } from '../../db/store-errors.ts';
import { unknownName } from '../../names.ts';
import type { Rates } from '../pinned-price.ts';
import { ratesAt, sameRates } from './steps.ts';
import { insertVersions, listVersions, lockPrices } from './versions.ts';
import type { PriceScope } from './versions.ts';

export interface SetPriceRequest {
  readonly tenantId: string | null;
  readonly provider: string | null;
  readonly model: string;
  /** null ends the price: the next scope counts, e.g. the published price. */
  readonly rates: Rates | null;
  /** Default: the database's time. A time in the past corrects what is in force since then. */
  readonly from?: Date | undefined;
  readonly by: string;
  readonly reason: string;
}

export interface SetPriceResult {
  readonly validFrom: Date;
  /** Id of the new version; null where the scope had this price already. */
  readonly version: string | null;
  /** When a version that was there before replaces it; null: never. */
  readonly until: Date | null;
}

export interface PriceSet {
  readonly version: string;
  readonly validFrom: Date;
  /** In force at that time until now; null: none. */
  readonly before: Rates | null;
}

const foreignKeyViolation = '23503';

/**
 * Adds a version. What was reserved before keeps its price. Safe to repeat: a price that is in force already, from that
 * time and in that scope, is not added again. `record` is run in the transaction of a version that is added. Throws `unknown_tenant`, or `store_unavailable` (503).
 */
export async function setPrice(
  sql: Sql,
  request: SetPriceRequest,
  record?: (tx: Tx, change: PriceSet) => Promise<void>,
): Promise<SetPriceResult> {
  const { tenantId, provider, model, rates, by, reason } = request;
  const scope: PriceScope = { source: 'operator', tenantId, provider, model };
  try {
    return await mapStoreErrors('set a price', () =>
      sql.begin(async (tx) => {
        const now = await lockPrices(tx);
        if (tenantId !== null) await assertTenant(tx, tenantId);
        const listed = await listVersions(tx, {
          models: [model],
          source: 'operator',
          tenantId: tenantId ?? undefined,
          history: true,
        });
        const stored = listed.filter(
          (version) => version.tenantId === tenantId && version.provider === provider,
        );
        const validFrom = request.from ?? now;
        const until = stored.find((version) => version.validFrom > validFrom)?.validFrom ?? null;
        const before = ratesAt(stored, validFrom);
        if (sameRates(before, rates)) return { validFrom, version: null, until };
        const [version = null] = await insertVersions(tx, [{ ...scope, validFrom, rates }], {
          by,
          reason,
        });
        await record?.(tx, { version: version ?? '', validFrom, before });
        return { validFrom, version, until };
      }),
    );
  } catch (error) {
    if (codeOf(error) !== foreignKeyViolation) throw error;
    throw unknownTenant(tenantId ?? '');
  }
}

/** Throws `unknown_tenant`. */
export async function assertTenant(sql: Queryable, tenantId: string): Promise<void> {
  const found = await sql`select from public.tenants where id = ${tenantId}`;
  if (found.length === 0) throw unknownTenant(tenantId);
}

function unknownTenant(tenantId: string): PurserError {
  return new PurserError(
    'unknown_tenant',
    `${unknownName('tenant', tenantId)}; see: purser tenants list`,
    { status: 404 },
  );
}
