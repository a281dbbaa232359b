/** The statements of the web role, for a walk. */
import { randomUUID } from 'node:crypto';
import { answerOnce, removeExpiredAnswers } from '../../../src/operations/idempotency/answers.ts';
import {
  closeSession,
  findSession,
  startSession,
} from '../../../src/operations/operators/sessions.ts';
import { addToken, findToken } from '../../../src/operations/operators/tokens.ts';
import type { FleetStatement } from '../money/fleet-statement.ts';

export const webStatements: readonly FleetStatement[] = [
  {
    name: 'sessions and tokens of the web role',
    covers: [
      'operations/operators/sessions.ts closeSession',
      'operations/operators/sessions.ts markSeen',
      'operations/operators/sessions.ts startSession',
      'operations/operators/tokens.ts markUsed',
    ],
    run: async (sql, _all, { tenantId }) => {
      const login = { user: tenantId, password: tenantId };
      const session = { operator: tenantId, proof: login, address: '', browser: '' };
      const token = (await startSession(sql, session)) ?? '';
      await sql`update operator_sessions set seen_at = now() - interval '1 hour'`;
      const found = await findSession(sql, token, login);
      await closeSession(sql, found?.id ?? '');
      const expiresAt = new Date(Date.now() + 60_000);
      const by = { name: 'walk', proof: 'asserted', door: 'cli' } as const;
      const limits = { tenants: [], jobTypes: [] };
      const added = { name: randomUUID(), role: 'viewer', ...limits, expiresAt } as const;
      const program = await findToken(sql, await sql.begin((tx) => addToken(tx, by, added)));
      return found?.operator === tenantId && program?.name === added.name;
    },
  },
  {
    name: 'answers to writes of the API',
    covers: [
      'operations/idempotency/answers.ts removeExpiredAnswers',
      'operations/idempotency/answers.ts storeAnswer',
      'operations/idempotency/answers.ts takeKey',
    ],
    run: async (sql) => {
      const operator = { name: 'walk', proof: 'token' } as const;
      const request = { operator, key: randomUUID(), method: 'POST', path: '/', body: Buffer.of() };
      const ask = () =>
        sql.begin((tx) =>
          answerOnce(tx, request, () => Promise.resolve({ status: 200, answer: 'done' })),
        );
      await ask();
      const again = await ask();
      await sql`update purser.idempotency_keys set expires_at = now() - interval '1 hour'`;
      return again.isRepeated && (await removeExpiredAnswers(sql)) > 0;
    },
  },
];
