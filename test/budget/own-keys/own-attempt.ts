/** Tenants with an own key of OpenAI, and what is counted of its calls. */
import { budgetStatus } from '../../../src/budget/budgets.ts';
import { markSent } from '../../../src/budget/reserve.ts';
import type { Sql } from '../../../src/db/connect.ts';
import { reserve } from '../../support/holds.ts';
import { addTenant, startAttempt } from '../../support/tenants.ts';
import type { TestAttempt } from '../../support/tenants.ts';

export const own = { provider: 'openai', model: 'small', providerKey: 'own:openai' } as const;
export const nothing = { reserved: '0', spent: '0', unknown: '0' };

export async function setKey(sql: Sql, tenantId: string, counts = false): Promise<void> {
  await sql`
    insert into llm_provider_keys
      (tenant_id, provider, api_key, encryption_key_version, last_four, counts_against_budget, set_by)
    values (${tenantId}, 'openai', 'token', 1, 'abcd', ${counts}, 'test')
    on conflict (tenant_id, provider) do update set counts_against_budget = excluded.counts_against_budget`;
}

/** An attempt of a tenant with an own key; the platform pays for nothing of it unless `limitUsd` says so. */
export async function ownAttempt(sql: Sql, limitUsd = '0', counts = false): Promise<TestAttempt> {
  const tenantId = await addTenant(sql, { limitUsd });
  await setKey(sql, tenantId, counts);
  return startAttempt(sql, tenantId);
}

export async function ownCounters(sql: Sql, tenantId: string) {
  const [status] = await budgetStatus(sql, { tenantId });
  return {
    reserved: status?.ownReservedUsd,
    spent: status?.ownSpentUsd,
    unknown: status?.ownUnknownUsd,
  };
}

/** A call that was sent and has not ended. */
export const sent = async (sql: Sql, attempt: TestAttempt, usd: string): Promise<string> => {
  const { reservationId } = await reserve(sql, attempt, usd, own);
  await markSent(sql, { reservationId });
  return reservationId;
};

export const codeOfRefusal = (call: Promise<unknown>) =>
  call.then(
    () => 'admitted',
    (error: { code: string }) => error.code,
  );
