/** Copies published prices into `llm_price_versions`: new versions only where they differ from what is stored. */
import type { Sql, Tx } from '../../db/connect.ts';
import { mapStoreErrors } from '../../db/store-errors.ts';
import type { Rates } from '../pinned-price.ts';
import { publishedModels } from './catalogue.ts';
import { packageVersion } from './published.ts';
import { missingSteps, ratesAt } from './steps.ts';
import { insertVersions, listVersions, lockPrices } from './versions.ts';
import type { PriceVersion } from './versions.ts';

export interface SyncRequest {
  /** Ids of providers. Default: all that have published prices. */
  readonly providers?: readonly string[] | undefined;
  /** Ids of models as published. Default: all. */
  readonly models?: readonly string[] | undefined;
  /**
   * From when a price holds that differs from the stored one and says no date itself. Default: the database's time. A
   * time in the past says that the stored price was wrong since then.
   */
  readonly from?: Date | undefined;
  readonly by: string;
}

export interface PriceChange {
  readonly version: string;
  readonly provider: string;
  readonly model: string;
  readonly validFrom: Date;
  /** null: from then on it is read from the package: it depends on the time of day, or is incomplete. */
  readonly rates: Rates | null;
  /** What was in force from that time on before this sync; null where there was nothing. */
  readonly before: Rates | null;
}

export interface SyncResult {
  readonly packageVersion: string;
  /** Models with a price that was compared. */
  readonly models: number;
  readonly changes: readonly PriceChange[];
}

/**
 * In one transaction, and one sync at a time. What is not published any more stays as it is stored. Throws a
 * `UsageError` for an unknown provider, or `store_unavailable` (503).
 */
export async function syncPrices(
  sql: Sql,
  request: SyncRequest,
  record?: (tx: Tx, changes: readonly PriceChange[]) => Promise<void>,
): Promise<SyncResult> {
  const { providers, models, from, by } = request;
  const published = publishedModels(providers).filter(
    ({ model }) => models === undefined || models.includes(model),
  );
  const changes = await mapStoreErrors('sync prices', () =>
    sql.begin(async (tx) => {
      const now = await lockPrices(tx);
      const stored = byKey(
        await listVersions(tx, { source: 'genai-prices', models, history: true }),
      );
      const missing = published.flatMap(({ provider, model, steps }) => {
        const known = stored.get(keyOf({ provider, model })) ?? [];
        return missingSteps(known, steps, from ?? now).map((step) => ({
          ...step,
          source: 'genai-prices' as const,
          tenantId: null,
          provider,
          model,
          before: ratesAt(known, step.validFrom),
        }));
      });
      const reason = `published by @pydantic/genai-prices ${packageVersion}`;
      const versions = await insertVersions(tx, missing, { by, reason });
      const made = missing.map(({ provider, model, validFrom, rates, before }, at) => ({
        version: versions[at] ?? '',
        provider,
        model,
        validFrom,
        rates,
        before,
      }));
      if (made.length > 0) await record?.(tx, made);
      return made;
    }),
  );
  const priced = published.filter(({ steps }) => steps.length > 0);
  return { packageVersion, models: priced.length, changes };
}

const keyOf = ({ provider, model }: { provider: string | null; model: string }): string =>
  JSON.stringify([provider, model]);

function byKey(versions: readonly PriceVersion[]): ReadonlyMap<string, readonly PriceVersion[]> {
  const found = new Map<string, PriceVersion[]>();
  for (const version of versions) {
    const key = keyOf(version);
    const known = found.get(key);
    if (known === undefined) found.set(key, [version]);
    else known.push(version);
  }
  return found;
}
