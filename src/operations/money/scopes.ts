/** An operator's limits of LLM spending beside the month: of a tenant, and of all tenants together. */
import { readFleetScope, removeFleetScope, setFleetScope } from '../../budget/fleet/scopes.ts';
import type { FleetScopeTarget, SetFleetScopeRequest } from '../../budget/fleet/scopes.ts';
import { lockScope, removeScope, setScope } from '../../budget/scopes.ts';
import type { ScopeTarget, SetScopeRequest } from '../../budget/scopes.ts';
import { Overtaken } from '../../db/connect.ts';
import type { Sql, Tx } from '../../db/connect.ts';
import { performAct, recordAct } from '../audit.ts';
import type { Operator } from '../audit.ts';

type Outcome = 'added' | 'changed' | 'unchanged';

interface Reason {
  readonly reason?: string | undefined;
}

const namesOf = ({ tenantId, kind, subject, period }: ScopeTarget) => ({
  tenantId,
  target: { kind, subject, period },
});

/** The same limit again is no act. Throws as `setScope`. */
export async function setScopeAs(
  sql: Sql | Tx,
  operator: Operator,
  { reason, ...request }: Omit<SetScopeRequest, 'by'> & Reason,
): Promise<Outcome> {
  return performAct(sql, operator, async (tx) => {
    const before = await lockScope(tx, request);
    const result = await setScope(tx, { ...request, by: operator.name });
    if (before === undefined && result !== 'added') throw new Overtaken();
    if (result === 'unchanged') return { result };
    const change = { before: before ?? null, after: (await lockScope(tx, request)) ?? null };
    return { result, act: { act: 'scope_set', ...namesOf(request), reason, ...change } };
  });
}

/** False where there is no such limit, which is no act. */
export async function removeScopeAs(
  sql: Sql | Tx,
  operator: Operator,
  { reason, ...target }: ScopeTarget & Reason,
): Promise<boolean> {
  return performAct(sql, operator, async (tx) => {
    const before = (await lockScope(tx, target)) ?? null;
    const result = await removeScope(tx, target);
    if (!result) return { result };
    return {
      result,
      act: { act: 'scope_remove', ...namesOf(target), reason, before, after: null },
    };
  });
}

const targetOf = ({ kind, provider, subject, period }: FleetScopeTarget) => ({
  kind,
  provider,
  subject,
  period,
});

/** The same limit again is no act, also where it goes on counting. Throws as `setFleetScope`. */
export async function setFleetScopeAs(
  sql: Sql,
  operator: Operator,
  { reason, ...request }: Omit<SetFleetScopeRequest, 'by'> & Reason,
): Promise<Outcome> {
  return setFleetScope(sql, { ...request, by: operator.name }, async (tx, change) => {
    const { outcome, before, after } = change;
    if (outcome === 'unchanged') return;
    const target = targetOf(request);
    await recordAct(tx, operator, { act: 'fleet_scope_set', target, reason, before, after });
  });
}

/** False where there is no such limit, which is no act. */
export async function removeFleetScopeAs(
  sql: Sql | Tx,
  operator: Operator,
  { reason, ...request }: FleetScopeTarget & Reason,
): Promise<boolean> {
  return performAct(sql, operator, async (tx) => {
    const target = targetOf(request);
    const before = (await readFleetScope(tx, target)) ?? null;
    const result = await removeFleetScope(tx, target);
    if (!result) return { result };
    return { result, act: { act: 'fleet_scope_remove', target, reason, before, after: null } };
  });
}
