/** A tenant's own key of a provider: its name, its place, and what the errors of its calls say. */
import type { EncryptionContext } from '../../crypto/context.ts';
import { LlmError } from '../llm.ts';
import type { Protocol, ProviderKind } from '../protocol.ts';

/** Whose key a request carries. The key itself is in no message. */
export interface OwnKey {
  readonly tenantId: string;
  readonly provider: ProviderKind;
}

/** `provider_key` of reservations, and the subject of scopes of that kind. */
export const nameOfOwnKey = ({ provider }: Pick<OwnKey, 'provider'>): string => `own:${provider}`;

/** As an HTTP header may carry it, and no placeholder. */
export const isOwnKey = (text: string): boolean => /^[\x21-\x7e]{16,1000}$/.test(text);

/** Where the table has the key: a token of another tenant or column does not decrypt here. */
export const ownKeyContext = (tenantId: string): EncryptionContext => ({
  tenantId,
  column: 'llm_provider_keys.api_key',
  purpose: 'api_key',
});

export function ownKeyUnreadable(own: OwnKey, why: string): LlmError {
  const { tenantId, provider } = own;
  return new LlmError(
    'llm_own_key_unreadable',
    `the own ${provider} key of tenant ${tenantId} cannot be used (${why}); nothing was sent, and the platform's key ` +
      'is not used instead; give the workers the ENCRYPTION_KEY that it was stored with, or set it again: ' +
      commandOf(own),
    { class: 'retry', outcome: 'released', providerKey: nameOfOwnKey(own) },
  );
}

/** The protocol with the name of the key for messages, in place of the variable with the platform's. */
export const namingKey = (protocol: Protocol, ownKey: OwnKey | undefined): Protocol =>
  ownKey === undefined ? protocol : { ...protocol, apiKeyVariable: "the tenant's own key" };

/** Failures of the key or its account, which are the tenant's to mend. */
const codesOfKey = new Set([
  'llm_auth',
  'llm_forbidden',
  'llm_quota_exhausted',
  'llm_rate_limited',
]);

/** The error of a response, with whose key it was about. */
export function withKeyOwner({ code, message, details }: LlmError, own: OwnKey): LlmError {
  const { tenantId, provider } = own;
  const owner =
    `; the call was made with the own ${provider} key of tenant ${tenantId}, and the platform's key is not used ` +
    `instead; replace it: ${commandOf(own)}`;
  return new LlmError(code, codesOfKey.has(code) ? message + owner : message, {
    class: 'retry',
    outcome: 'released',
    ...details,
    providerKey: nameOfOwnKey(own),
  });
}

const commandOf = ({ tenantId, provider }: OwnKey): string =>
  `purser llm keys set ${/^[\w.-]+$/.test(tenantId) ? tenantId : `'${tenantId.replaceAll("'", "'\\''")}'`} --provider ${provider}`;
