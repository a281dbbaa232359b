/** The tenants in the order of their ids, page by page. */
import { maxBacklogCounted } from '../../../operations/tenants/list.ts';
import type { ListedTenant } from '../../../operations/tenants/list.ts';
import type { Access } from '../../web-env.ts';
import { Page, Time } from '../layout.tsx';
import { Badge } from '../parts/badge.tsx';
import { FilterForm } from '../parts/filter-form.tsx';
import { Length } from '../parts/length.tsx';
import { Pager, countText, numberText } from '../parts/pager.tsx';
import { Table } from '../parts/table.tsx';
import { TenantLink } from '../parts/tenant-link.tsx';
import { Usd } from '../parts/usd.tsx';

export interface TenantsPageProps {
  readonly access: Access;
  readonly tenants: readonly ListedTenant[];
  readonly tenant?: string | undefined;
  readonly after?: string | undefined;
  readonly next?: string | undefined;
}

export function TenantsPage({ access, tenants, tenant, after, next }: TenantsPageProps) {
  return (
    <Page title="Tenants" access={access} path="/tenants">
      <FilterForm
        path="/tenants"
        values={{ tenant }}
        fields={[{ name: 'tenant', label: 'Tenant id begins with' }]}
      />
      <Table
        label="Tenants"
        caption="By id. Money and refused calls are those of the running month (UTC); the wait is that of newest jobs that ended, from when each was due to its begin. Times are UTC."
        rows={tenants}
        empty="No tenant has such an id."
        columns={[
          {
            title: 'Tenant',
            isHead: true,
            cell: ({ tenantId, isPaused }) => (
              <>
                <TenantLink id={tenantId} /> {isPaused ? <Badge tone="warn" text="paused" /> : null}
              </>
            ),
          },
          { title: 'Plan', cell: ({ plan }) => plan },
          { title: 'Cohort', cell: ({ cohort }) => cohort.replace('_', ' ') },
          {
            title: 'Next run',
            cell: ({ nextRunAt }) => (nextRunAt === null ? 'none' : <Time at={nextRunAt} />),
          },
          {
            title: 'Backlog',
            isNumber: true,
            cell: ({ backlog }) => countText(backlog, maxBacklogCounted),
          },
          { title: 'Running', isNumber: true, cell: ({ running }) => numberText(running) },
          {
            title: 'Wait, p95',
            isNumber: true,
            cell: ({ p95WaitMs }) => (p95WaitMs === null ? '' : <Length ms={p95WaitMs} />),
          },
          { title: 'Spent', isNumber: true, cell: ({ spentUsd }) => <Usd usd={spentUsd} /> },
          { title: 'Unknown', isNumber: true, cell: ({ unknownUsd }) => <Usd usd={unknownUsd} /> },
          { title: 'Held', isNumber: true, cell: ({ heldUsd }) => <Usd usd={heldUsd} /> },
          { title: 'Limit', isNumber: true, cell: ({ limitUsd }) => <Usd usd={limitUsd} /> },
          { title: 'Refused', isNumber: true, cell: ({ refused }) => numberText(refused) },
        ]}
      />
      <Pager
        path="/tenants"
        fields={{ tenant }}
        cursor="after"
        next={next}
        isLater={after !== undefined}
        label="Next tenants"
      />
    </Page>
  );
}
