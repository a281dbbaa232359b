/** Which circuit breakers a call goes through: its credential's, and that of its provider and model. */

export type BreakerKind = 'credential' | 'model';

export interface BreakerId {
  readonly kind: BreakerKind;
  /** Unique within its kind, and what operators call it after `kind:`. */
  readonly key: string;
  readonly provider: string;
  /** The model's, or the credential's. */
  readonly name: string;
  /** Whose own credential it is; undefined where all tenants share it. */
  readonly tenantId: string | undefined;
}

export interface Route {
  readonly tenantId: string;
  readonly provider: string;
  readonly model: string;
  /** The name of the credential that pays. Default `platform`, which all tenants share; others are their tenant's own. */
  readonly providerKey?: string | undefined;
}

const shared = 'platform';

export const nameOf = ({ kind, key }: Pick<BreakerId, 'kind' | 'key'>): string => `${kind}:${key}`;

/** The credential's first: it keeps more calls. */
export function breakersOf(route: Route): readonly [BreakerId, BreakerId] {
  const { provider, model, providerKey = shared } = route;
  const tenantId = providerKey === shared ? undefined : route.tenantId;
  // A name may contain a slash; of several parts only the last one is written as it is.
  const credential =
    tenantId === undefined ? providerKey : `${encodeURIComponent(providerKey)}/${tenantId}`;
  return [
    { kind: 'credential', key: `${provider}/${credential}`, provider, name: providerKey, tenantId },
    { kind: 'model', key: `${provider}/${model}`, provider, name: model, tenantId: undefined },
  ];
}
