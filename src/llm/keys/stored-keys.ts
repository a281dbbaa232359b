/** Sets, lists and removes the tenants' own keys of LLM providers. A key is stored encrypted and never shown again. */
import { unknownTenant } from '../../budget/scopes.ts';
import type { EncryptionKeyManager } from '../../crypto/keyring.ts';
import type { Queryable, Sql, Tx } from '../../db/connect.ts';
import { mapStoreErrors } from '../../db/store-errors.ts';
import { codeOf, PurserError } from '../../errors.ts';
import type { ProviderKind } from '../protocol.ts';
import { breakersOf, nameOf } from '../breaker/breaker-id.ts';
import { resetBreaker } from '../breaker/store.ts';
import { isOwnKey, nameOfOwnKey, ownKeyContext } from './own-key.ts';
import type { OwnKey } from './own-key.ts';

export const ownKeyProviders: readonly ProviderKind[] = ['openai', 'anthropic', 'google'];

export interface SetOwnKeyRequest extends OwnKey {
  readonly apiKey: string;
  /** Whether its calls count in the tenant's month and in scopes of kind tenant, job type and model. */
  readonly countsAgainstBudget: boolean;
  readonly by: string;
  readonly keyring: EncryptionKeyManager;
  /** The key to encrypt with, which every process of the fleet has: `keyVersionToWrite`. */
  readonly keyVersion: number;
}

const foreignKeyViolation = '23503';

/**
 * For every call that begins from now on; what was reserved before is counted as it was. Throws `invalid_provider_key`,
 * `unknown_tenant`.
 */
export async function setOwnKey(
  sql: Queryable,
  request: SetOwnKeyRequest,
): Promise<{ readonly outcome: 'added' | 'replaced'; readonly lastFour: string }> {
  const { tenantId, provider, apiKey, countsAgainstBudget, by, keyring, keyVersion } = request;
  checkOwnKey(apiKey);
  const { ciphertext } = await keyring.encryptString(apiKey, ownKeyContext(tenantId), keyVersion);
  const lastFour = apiKey.slice(-4);
  const [row] = await mapStoreErrors(
    'set the key of a provider',
    () => sql<{ added: boolean }[]>`
      insert into llm_provider_keys
        (tenant_id, provider, api_key, encryption_key_version, last_four, counts_against_budget, set_by)
      values (${tenantId}, ${provider}, ${ciphertext}, ${keyVersion}, ${lastFour}, ${countsAgainstBudget}, ${by})
      on conflict (tenant_id, provider) do update
        set api_key = excluded.api_key, encryption_key_version = excluded.encryption_key_version,
          last_four = excluded.last_four, counts_against_budget = excluded.counts_against_budget,
          set_by = excluded.set_by, updated_at = now()
      returning created_at = updated_at as added`,
  ).catch((error: unknown) => {
    throw codeOf(error) === foreignKeyViolation ? unknownTenant(tenantId) : error;
  });
  await resetBreaker(sql, breakerOf(request), by);
  return { outcome: row?.added === true ? 'added' : 'replaced', lastFour };
}

/** Throws `invalid_provider_key`, which says what is wrong and nothing of the key. */
export function checkOwnKey(apiKey: string): void {
  if (isOwnKey(apiKey)) return;
  const fault =
    apiKey.length < 16 || apiKey.length > 1000
      ? `has ${apiKey.length} characters`
      : 'has a character that no HTTP header may carry (a blank, a line break, or one beyond ASCII)';
  throw new PurserError(
    'invalid_provider_key',
    `the key ${fault}; a provider's key has 16 to 1000 visible ASCII characters; give it as the provider shows it`,
  );
}

/** False where the tenant had none. Its calls are made with the platform's key from now on. */
export async function removeOwnKey(sql: Queryable, own: OwnKey, by: string): Promise<boolean> {
  const { tenantId, provider } = own;
  const removed = await mapStoreErrors(
    'remove the key of a provider',
    () => sql`
      delete from llm_provider_keys where tenant_id = ${tenantId} and provider = ${provider}
      returning id`,
  );
  await resetBreaker(sql, breakerOf(own), by);
  return removed.length > 0;
}

/** What the record of acts keeps of a key: nothing of the key itself. */
interface KeyValues {
  readonly countsAgainstBudget: boolean;
  readonly keyVersion: number;
  readonly setBy: string;
  readonly setAt: Date;
}

/** The tenant's key, locked until the end of the transaction. */
export async function lockOwnKey(
  tx: Tx,
  { tenantId, provider }: OwnKey,
): Promise<KeyValues | undefined> {
  const [row] = await tx<KeyValues[]>`
    select counts_against_budget as "countsAgainstBudget", encryption_key_version as "keyVersion", set_by as "setBy", updated_at as "setAt"
    from llm_provider_keys where tenant_id = ${tenantId} and provider = ${provider} for update`;
  return row;
}

/** What the key before it has met says nothing of the one that counts now. */
function breakerOf({ tenantId, provider }: OwnKey): string {
  const providerKey = nameOfOwnKey({ provider });
  return nameOf(breakersOf({ tenantId, provider, model: '', providerKey })[0]);
}

export interface StoredOwnKey extends OwnKey {
  readonly lastFour: string;
  readonly countsAgainstBudget: boolean;
  /** Version of the ENCRYPTION_KEY. */
  readonly keyVersion: number;
  readonly setBy: string;
  readonly setAt: Date;
}

/** Of one tenant, or of all. */
export async function listOwnKeys(
  sql: Sql,
  { tenantId }: { readonly tenantId?: string | undefined } = {},
): Promise<StoredOwnKey[]> {
  return mapStoreErrors(
    'list the keys of providers',
    () => sql<StoredOwnKey[]>`
      select tenant_id as "tenantId", provider, last_four as "lastFour",
        counts_against_budget as "countsAgainstBudget", encryption_key_version as "keyVersion", set_by as "setBy",
        updated_at as "setAt"
      from llm_provider_keys
      where ${tenantId ?? null}::text is null or tenant_id = ${tenantId ?? null}::text
      order by tenant_id, provider`,
  );
}
