/** The operations of the document, and a request to each. */
import type { Role } from '../../../../src/operations/operators/roles.ts';
import type { WebFixture } from '../../web-fixture.ts';
import type { Answer, Ask, Json } from '../api-fixture.ts';
import { requests } from './arranged.ts';
import type { ArrangedTenant } from './arranged.ts';

export interface Operation {
  readonly id: string;
  readonly isRead: boolean;
  readonly role: Role;
  readonly limitedTokens: 'own' | 'refused';
}

export async function operationsOf(ask: Ask): Promise<Operation[]> {
  const document = (await ask('/openapi.json')).json;
  return Object.values<Json>(document.paths).flatMap((path) =>
    Object.entries<Json>(path).map(([method, operation]) => ({
      id: operation.operationId,
      isRead: method === 'get',
      role: operation['x-role'],
      limitedTokens: operation['x-limited-tokens'],
    })),
  );
}

export function send(ask: Ask, id: string, of: ArrangedTenant): Promise<Answer> {
  const request = requests[id];
  if (request === undefined) throw new Error(`the walk has no request for ${id}`);
  const { path, ...sent } = request(of);
  return ask(path, sent);
}

/** What writes change: the record of acts, jobs, keys, pauses, batches and budgets. */
export async function changesOf({ database: { system } }: WebFixture): Promise<string> {
  const [row] = await system<{ state: string }[]>`
    select concat_ws(' ', (select count(*) from operator_acts), (select count(*) from jobs),
      (select count(*) from jobs where outcome is not null), (select count(*) from purser.idempotency_keys),
      (select count(*) from pauses), (select string_agg(b.state, ' ' order by b.id) from purser.batches b),
      (select sum(monthly_limit_usd) from llm_budgets)) as state`;
  return row?.state ?? '';
}
