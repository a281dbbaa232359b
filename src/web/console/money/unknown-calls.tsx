/** Calls whose cost is unknown: how many by age, and the oldest with the way to resolve each. */
import type { UnknownHolds } from '../../../budget/report/unknown.ts';
import { lengthText } from '../../../operations/why/cause.ts';
import { numberText } from '../parts/pager.tsx';
import { Table } from '../parts/table.tsx';
import { Usd } from '../parts/usd.tsx';
import { TenantLink } from '../parts/tenant-link.tsx';

export function UnknownCalls({ unknown }: { readonly unknown: UnknownHolds }) {
  const { holds, usd, ages, oldest } = unknown;
  if (holds === 0) {
    return <p class="empty">No call has an unknown cost: every call that was sent is settled.</p>;
  }
  const sums = [...ages, { age: 'all', holds, usd }];
  return (
    <>
      <p>
        They were sent, and no report of their usage came. Each stays charged at its hold until it
        is resolved, or settled at the hold after 48 hours.
      </p>
      <Table
        label="Calls of unknown cost by age"
        caption="By age, of all months"
        rows={sums}
        empty=""
        columns={[
          { title: 'Sent', isHead: true, cell: ({ age }) => age },
          { title: 'Calls', isNumber: true, cell: (sum) => numberText(sum.holds) },
          { title: 'Charged', isNumber: true, cell: (sum) => <Usd usd={sum.usd} /> },
        ]}
      />
      <Table
        label="Oldest calls of unknown cost"
        caption={
          oldest.length < holds
            ? `The oldest ${oldest.length} of ${numberText(holds)}`
            : 'Oldest first'
        }
        rows={oldest}
        empty=""
        columns={[
          { title: 'Age', cell: ({ ageSeconds }) => lengthText(ageSeconds * 1_000) },
          { title: 'Charged', isNumber: true, cell: ({ holdUsd }) => <Usd usd={holdUsd} /> },
          { title: 'Tenant', cell: ({ tenantId }) => <TenantLink id={tenantId} /> },
          {
            title: 'Job',
            cell: ({ jobId, jobType }) =>
              jobId === null ? jobType : <a href={`/jobs/${jobId}`}>{`${jobType} ${jobId}`}</a>,
          },
          { title: 'Model', cell: ({ provider, model }) => `${provider} ${model}` },
          { title: 'Key', cell: ({ providerKey }) => providerKey },
          { title: 'Request id', cell: ({ requestId }) => requestId ?? '' },
          {
            title: 'Resolve',
            isTitleHidden: true,
            cell: ({ reservationId }) => (
              <a
                href={`/money/call?id=${reservationId}`}
                aria-label={`Resolve the call with reservation ${reservationId}`}
              >
                Resolve
              </a>
            ),
          },
        ]}
      />
    </>
  );
}
