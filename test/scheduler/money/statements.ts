/** The statements of a fleet about LLM money. */
import { randomUUID } from 'node:crypto';
import { gatherCharges } from '../../../src/budget/charges.ts';
import { markSent } from '../../../src/budget/reserve.ts';
import { recordUsage, releaseReservation } from '../../../src/budget/settle.ts';
import { changeBreakers, recordRefusal, takeProbe } from '../../../src/llm/breaker/store.ts';
import { holdOf, reserve, settlementOf } from '../../support/holds.ts';
import { keyFailed } from '../arranged-tenant.ts';
import { answerFor } from './fleet-statement.ts';
import type { FleetStatement } from './fleet-statement.ts';

export const moneyStatements: readonly FleetStatement[] = [
  {
    name: 'reserve, send, settle, release',
    covers: [
      'budget/reserve.ts reserveHold',
      'budget/reserve.ts markSent',
      'budget/settle.ts settleHold',
      'budget/settle.ts closeHold',
    ],
    run: async (sql, all, free) => {
      const done = all.map(async ({ attempt, openHold, settledHold }) => {
        await markSent(sql, await reserve(sql, attempt, '1'));
        await recordUsage(sql, settlementOf(settledHold.reservationId, '0.5'));
        return releaseReservation(sql, { reservationId: openHold.reservationId });
      });
      return answerFor(
        free,
        all.map((each, at) => [each, done[at] ?? Promise.reject(new Error())] as const),
      );
    },
  },
  {
    name: 'calls that are charged together',
    covers: ['budget/charges.ts reserveTogether', 'budget/charges.ts markTogether'],
    run: async (sql, all, free) => {
      const charges = gatherCharges(sql);
      const done = all.map(async ({ tenantId, attempt }) => {
        const two = ['1', '1'].map(async (usd) => {
          const { reservationId } = await charges.reserve(holdOf(attempt, usd));
          return charges.markSent(tenantId, reservationId);
        });
        return (await Promise.all(two)).every((sent) => sent);
      });
      return answerFor(
        free,
        all.map((each, at) => [each, done[at] ?? Promise.reject(new Error())] as const),
      );
    },
  },
  {
    name: 'circuit breakers',
    covers: [
      'llm/breaker/store.ts changeBreakers',
      'llm/breaker/store.ts recordRefusal',
      'llm/breaker/store.ts takeProbe',
    ],
    run: async (sql, all, { tenantId }) => {
      await changeBreakers(sql, all.map(keyFailed), 'test');
      for (const { attempt } of all) {
        const what = { provider: 'test', model: 'm', neededUsd: '1', breakers: [] };
        await recordRefusal(sql, { ...attempt, ...what });
      }
      const names = [`credential:test/own/${tenantId}`];
      const now = new Date(Date.now() + 86_400_000);
      return takeProbe(sql, { names, probe: randomUUID(), leaseMs: 1_000, by: 'test', now });
    },
  },
];
