/** A call of unknown cost, with the two ways to resolve it: at the amount of an invoice, or as not billed. */
import type { UnknownHold } from '../../../budget/report/unknown.ts';
import { lengthText } from '../../../operations/why/cause.ts';
import { hasRole } from '../../../operations/operators/roles.ts';
import type { Access } from '../../web-env.ts';
import { Page, Time } from '../layout.tsx';
import { ActForm } from '../parts/act-form.tsx';
import { Facts } from '../parts/notice.tsx';
import { Usd } from '../parts/usd.tsx';
import { TenantLink } from '../parts/tenant-link.tsx';

function Evidence({ example }: { readonly example: string }) {
  return (
    <label>
      Evidence
      <input name="evidence" required={true} maxlength={200} placeholder={example} />
    </label>
  );
}

function Resolve({ access, id }: { readonly access: Access; readonly id: string }) {
  return (
    <>
      <h2>Resolve it at an amount</h2>
      <ActForm access={access} action="/money/resolve" label="Charge this amount" hidden={{ id }}>
        <label>
          US dollars
          <input name="usd" required={true} inputmode="decimal" placeholder="0.0123" />
        </label>
        <Evidence example="invoice 2026-11 line 17" />
      </ActForm>
      <h2>Resolve it as not billed</h2>
      <ActForm
        access={access}
        action="/money/resolve"
        label="Charge nothing"
        isDanger={true}
        question="Settle this call at $0? Its hold becomes available again."
        hidden={{ id, usd: '0' }}
      >
        <Evidence example="not on the invoice of 2026-11" />
      </ActForm>
    </>
  );
}

export function CallPage({
  access,
  call,
}: {
  readonly access: Access;
  readonly call: UnknownHold;
}) {
  const { reservationId, tenantId, jobId, jobType, provider, model, providerKey } = call;
  return (
    <Page title="Call of unknown cost" access={access} path="/money">
      <Facts
        of={[
          ['Reservation', <code>{reservationId}</code>],
          ['Charged until it is resolved', <Usd usd={call.holdUsd} />],
          ['Tenant', <TenantLink id={tenantId} />],
          ['Job', jobId === null ? null : <a href={`/jobs/${jobId}`}>{`${jobType} ${jobId}`}</a>],
          ['Model', `${provider} ${model}`],
          ['Key', providerKey],
          ['Request id of the provider', call.requestId],
          ['Sent (UTC)', call.sentAt === null ? null : <Time at={call.sentAt} />],
          ['Age', lengthText(call.ageSeconds * 1_000)],
        ]}
      />
      {hasRole(access.role, 'operator') ? (
        <Resolve access={access} id={reservationId} />
      ) : (
        <p class="quiet">An operator can resolve it here, or by: purser budget resolve</p>
      )}
    </Page>
  );
}
