/** An operator's acts on LLM calls: stops, circuit breakers, and the tenants' own keys, which are on no record. */
import { unknownTenant } from '../../budget/scopes.ts';
import { liftStop, lockStop, setStop } from '../../budget/stops.ts';
import type { Stop, StopTarget } from '../../budget/stops.ts';
import { Overtaken } from '../../db/connect.ts';
import type { Sql, Tx } from '../../db/connect.ts';
import { listBreakers, resetBreaker } from '../../llm/breaker/store.ts';
import type { Breaker, BreakerState } from '../../llm/breaker/store.ts';
import type { OwnKey } from '../../llm/keys/own-key.ts';
import { lockOwnKey, removeOwnKey, setOwnKey } from '../../llm/keys/stored-keys.ts';
import type { SetOwnKeyRequest } from '../../llm/keys/stored-keys.ts';
import { performAct } from '../audit.ts';
import type { Operator } from '../audit.ts';

interface Reason {
  readonly reason?: string | undefined;
}

const namesOf = ({ tenantId, provider, model }: StopTarget) => ({
  tenantId,
  target: { provider, model },
});

const valuesOf = ({ aborts, by, reason, at }: Stop) => ({ aborts, by, reason, at });

/** A stop of the same calls is replaced, with its time: an act too. Throws `unknown_tenant`. */
export async function stopCallsAs(
  sql: Sql | Tx,
  operator: Operator,
  request: StopTarget & { readonly aborts: boolean; readonly reason: string },
): Promise<void> {
  return performAct(sql, operator, async (tx) => {
    const { aborts, reason, tenantId = '' } = request;
    const before = await lockStop(tx, request);
    const done = await setStop(tx, { ...request, by: operator.name });
    if (done === undefined) throw unknownTenant(tenantId);
    if (before === undefined && done !== 'added') throw new Overtaken();
    const change = {
      before: before === undefined ? null : valuesOf(before),
      after: { aborts, by: operator.name, reason },
    };
    return { result: undefined, act: { act: 'llm_stop', ...namesOf(request), reason, ...change } };
  });
}

/** False where there is no such stop, which is no act. */
export async function resumeCallsAs(
  sql: Sql | Tx,
  operator: Operator,
  { reason, ...target }: StopTarget & Reason,
): Promise<boolean> {
  return performAct(sql, operator, async (tx) => {
    const before = await liftStop(tx, target);
    if (before === undefined) return { result: false };
    const change = { before: valuesOf(before), after: null };
    return { result: true, act: { act: 'llm_resume', ...namesOf(target), reason, ...change } };
  });
}

/** All that have ever opened, those that are not closed first. */
export const circuitBreakers = (sql: Sql): Promise<readonly Breaker[]> => listBreakers(sql);

/** The state that it had; undefined where there is no such breaker. One that was closed is no act. */
export async function resetBreakerAs(
  sql: Sql | Tx,
  operator: Operator,
  { breaker, reason }: Reason & { readonly breaker: string },
): Promise<BreakerState | undefined> {
  return performAct(sql, operator, async (tx) => {
    const result = await resetBreaker(tx, breaker, operator.name);
    if (result === undefined) return { result };
    const change = { before: { state: result }, after: { state: 'closed' } };
    return { result, act: { act: 'breaker_reset', target: { breaker }, reason, ...change } };
  });
}

/** Throws as `setOwnKey`. */
export async function setOwnKeyAs(
  sql: Sql | Tx,
  operator: Operator,
  { reason, ...request }: Omit<SetOwnKeyRequest, 'by'> & Reason,
): ReturnType<typeof setOwnKey> {
  return performAct(sql, operator, async (tx) => {
    const { tenantId, provider } = request;
    const before = await lockOwnKey(tx, request);
    const result = await setOwnKey(tx, { ...request, by: operator.name });
    if (before === undefined && result.outcome !== 'added') throw new Overtaken();
    const after = await lockOwnKey(tx, request);
    const change = { before: before ?? null, after: after ?? null };
    return {
      result,
      act: {
        act: 'llm_key_set',
        tenantId,
        target: { provider, outcome: result.outcome },
        reason,
        ...change,
      },
    };
  });
}

/** False where the tenant had none, which is no act. */
export async function removeOwnKeyAs(
  sql: Sql | Tx,
  operator: Operator,
  { reason, ...own }: OwnKey & Reason,
): Promise<boolean> {
  return performAct(sql, operator, async (tx) => {
    const { tenantId, provider } = own;
    const before = await lockOwnKey(tx, own);
    const result = await removeOwnKey(tx, own, operator.name);
    if (!result) return { result };
    const change = { before: before ?? null, after: null };
    return {
      result,
      act: { act: 'llm_key_remove', tenantId, target: { provider }, reason, ...change },
    };
  });
}
