/** An operator's act on what calls have cost: corrected prices. */
import { formatUsd } from '../../budget/money.ts';
import { rerate } from '../../budget/rerate/rerate.ts';
import type { RatedChange, Rerating, RerateRequest } from '../../budget/rerate/rerate.ts';
import type { Queryable, Sql } from '../../db/connect.ts';
import { recordAct } from '../audit.ts';
import type { Operator } from '../audit.ts';

/** One act for each batch of calls whose cost changes. Throws as `rerate`. */
export async function rerateAs(
  sql: Sql,
  operator: Operator,
  { reason, ...request }: Omit<RerateRequest, 'apply'> & { readonly reason: string },
): Promise<Rerating> {
  const { model, provider, from, to } = request;
  const apply = { by: operator.name, reason };
  return rerate(sql, { ...request, apply }, async (tx, changes) =>
    recordAct(tx, operator, {
      act: 'prices_rerate',
      tenantId: changes[0]?.tenantId,
      target: { model, provider, from, to },
      reason,
      affected: changes.length,
      jobIds: await jobsOf(tx, changes),
      before: costsOf(changes, ({ beforeNanoUsd }) => beforeNanoUsd),
      after: costsOf(changes, ({ afterNanoUsd }) => afterNanoUsd),
    }),
  );
}

/** By reservation. */
const costsOf = (
  changes: readonly RatedChange[],
  cost: (change: RatedChange) => bigint,
): Readonly<Record<string, string>> =>
  Object.fromEntries(changes.map((change) => [change.reservationId, formatUsd(cost(change))]));

async function jobsOf(tx: Queryable, changes: readonly RatedChange[]): Promise<string[]> {
  const ids = changes.map(({ reservationId }) => reservationId);
  const rows = await tx<{ id: string }[]>`
    select distinct job_id::text as id from llm_reservations
    where id = any(${ids}::uuid[]) and job_id is not null`;
  return rows.map(({ id }) => id);
}
