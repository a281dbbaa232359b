/** Requests to the API of a web role over a real database and a real queue store. */
import { randomUUID } from 'node:crypto';
import type { Role } from '../../../src/operations/operators/roles.ts';
import type { NewToken } from '../../../src/operations/operators/tokens.ts';
import { bearer, makeToken } from '../access/access-fixture.ts';
import type { WebFixture } from '../web-fixture.ts';

export interface Sent {
  readonly method?: string;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  /** Default: a new one for each write. null: none. */
  readonly key?: string | null;
}

// The fields of an answer are those of its endpoint.
// oxlint-disable-next-line typescript/no-explicit-any
export type Json = any;

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  readonly json: Json;
}

export type Ask = (path: string, sent?: Sent) => Promise<Answer>;

/** Sends to /api/v1 with these headers. */
export function askWith(
  fixture: Pick<WebFixture, 'url'>,
  headers: Readonly<Record<string, string>>,
): Ask {
  return async (path, { method, body, headers: more = {}, key } = {}) => {
    const isWrite = body !== undefined || (method !== undefined && method !== 'GET');
    const sentKey = key === undefined && isWrite ? randomUUID() : key;
    const response = await fetch(`${fixture.url}/api/v1${path}`, {
      method: method ?? (isWrite ? 'POST' : 'GET'),
      redirect: 'manual',
      headers: {
        ...headers,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...(typeof sentKey === 'string' ? { 'idempotency-key': sentKey } : {}),
        ...more,
      },
      ...(body === undefined
        ? {}
        : {
            body:
              typeof body === 'string' || body instanceof Uint8Array ? body : JSON.stringify(body),
          }),
    });
    const text = await response.text();
    const isJson = /json/.test(response.headers.get('content-type') ?? '');
    return {
      status: response.status,
      headers: response.headers,
      text,
      json: isJson ? JSON.parse(text) : undefined,
    };
  };
}

/** A program with a token of this role, limited or not. */
export const program = async (
  fixture: WebFixture,
  role: Role,
  token: Partial<NewToken> = {},
): Promise<Ask> => askWith(fixture, bearer(await makeToken(fixture, { role, ...token })));

/** Number of jobs of a tenant. */
export async function jobsOf(fixture: WebFixture, tenantId: string): Promise<number> {
  const [row] = await fixture.database.system<{ jobs: number }[]>`
    select count(*)::int as jobs from jobs where tenant_id = ${tenantId}`;
  return row?.jobs ?? 0;
}
