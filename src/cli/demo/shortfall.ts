/** Rows of the demo's file that were not ingested, with the reasons. */
import type { SplitResult } from '../../costs/uploads/tenants.ts';
import type { Queryable } from '../../db/connect.ts';

const maxLines = 20;

interface Incomplete {
  tenantId: string;
  failure: string | null;
  errors: number;
  line: string | null;
  reason: string | null;
}

function describe({ tenantId, failure, errors, line, reason }: Incomplete): string {
  if (failure !== null) return `tenant ${tenantId}: the file was not ingested: ${failure}`;
  const rows = errors === 1 ? 'row was' : 'rows were';
  return `tenant ${tenantId}: ${errors} ${rows} left out, the first at line ${line}: ${reason}`;
}

/** One line for each tenant with rows that were left out, and one when no row came in; empty when all rows did. */
export async function readShortfall(
  sql: Queryable,
  { uploads, errors }: Pick<SplitResult, 'uploads' | 'errors'>,
): Promise<string[]> {
  const ids = uploads.map(({ uploadId }) => uploadId);
  const incomplete = await sql<Incomplete[]>`
    select u.tenant_id as "tenantId", u.failure, u.error_count::int as errors, e.line, e.reason
    from public.ingest_uploads u
    left join lateral (
      select line, coalesce(column_name || ': ', '') || reason as reason from public.ingest_errors
      where upload_id = u.id order by line limit 1
    ) e on true
    where u.id = any(${ids}::bigint[]) and (u.state = 'failed' or u.error_count > 0)
    order by u.id`;
  const [stored] = await sql<{ rows: number }[]>`
    select count(*)::int as rows from public.cost_records r
    join public.cost_deliveries d on d.id = r.delivery_id
    where d.upload_id = any(${ids}::bigint[])`;
  const lines = incomplete.slice(0, maxLines).map(describe);
  if (incomplete.length > maxLines) lines.push(`and ${incomplete.length - maxLines} more tenants`);
  if (errors > 0) lines.push(`${errors} rows belong to no tenant and were left out`);
  if (stored?.rows === 0) {
    const isEmpty = lines.length === 0;
    lines.push(`no row of the file was ingested${isEmpty ? ': it has a header and no rows' : ''}`);
  }
  return lines;
}
