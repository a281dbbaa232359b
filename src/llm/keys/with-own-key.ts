/**
 * The key that pays for a call: the tenant's own one where it has one for the provider, else the platform's. A tenant with
 * an own key never calls with the platform's: where the own key cannot be used, the call fails.
 */
import { keysOf } from '../../crypto/open-keyring.ts';
import type { Sql } from '../../db/connect.ts';
import { mapStoreErrors } from '../../db/store-errors.ts';
import { codeOf } from '../../errors.ts';
import type { Provider } from '../gateway.ts';
import type { Account } from '../holds.ts';
import { isOwnKey, ownKeyContext, ownKeyUnreadable } from './own-key.ts';
import type { OwnKey } from './own-key.ts';

/**
 * The provider with the tenant's own key where there is one. It is read for every call and kept by no process: a key that
 * is set or removed counts for every call that begins after its commit. Throws `llm_own_key_unreadable`, or
 * `store_unavailable` (503).
 */
export async function withOwnKey(
  provider: Provider,
  { sql, tenantId, openKeys = keysOf(undefined) }: Pick<Account, 'sql' | 'tenantId' | 'openKeys'>,
): Promise<Provider> {
  const ownKey = { tenantId, provider: provider.protocol.kind };
  const token = await findOwnKey(sql, ownKey);
  if (token === undefined) return provider;
  let apiKey: string;
  try {
    apiKey = await openKeys().decryptString(token, ownKeyContext(tenantId));
  } catch (error) {
    throw ownKeyUnreadable(ownKey, codeOf(error));
  }
  if (!isOwnKey(apiKey)) throw ownKeyUnreadable(ownKey, 'no HTTP header may carry it');
  return { ...provider, config: { ...provider.config, apiKey }, ownKey };
}

async function findOwnKey(sql: Sql, { tenantId, provider }: OwnKey): Promise<string | undefined> {
  const [row] = await mapStoreErrors(
    'read the key of a provider',
    () => sql<{ token: string }[]>`
      select api_key as token from llm_provider_keys
      where tenant_id = ${tenantId} and provider = ${provider}`,
  );
  return row?.token;
}
