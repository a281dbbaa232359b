/** A tenant's id, or another label, with the way to its page. */

const tenantPath = (id: string): string => `/tenants/${encodeURIComponent(id)}`;

export function TenantLink({ id, label }: { readonly id: string; readonly label?: string }) {
  return <a href={tenantPath(id)}>{label ?? id}</a>;
}
