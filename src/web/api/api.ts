/**
 * The HTTP API, mounted at /api/v1 behind the login: each endpoint with its rule, its checks and its handler, and an answer
 * as problem+json for every path and method that is none of them.
 */
import { OpenAPIHono } from '@hono/zod-openapi';
import type { Context, MiddlewareHandler } from 'hono';
import { createMiddleware } from 'hono/factory';
import type { z } from 'zod';
import { withLockTimeout } from '../../db/locks/lock-timeout.ts';
import { PurserError } from '../../errors.ts';
import { answerOnce } from '../../operations/idempotency/answers.ts';
import type { KeyedAnswer, KeyedRequest } from '../../operations/idempotency/answers.ts';
import { requireRole } from '../access/route-rules.ts';
import type { WebEnv } from '../web-env.ts';
import { apiDocument, routeOf } from './document.ts';
import type { ApiServices, Endpoint, RequestValues } from './endpoint.ts';
import { endpoints } from './endpoints/endpoints.ts';
import { answerText, refuseFaults } from './problems.ts';
import type { Fault } from './problems.ts';
import { limitBody, readJson } from './requests/body.ts';
import { keyOf, requireCsrfHeader, requireKey } from './requests/proof.ts';

export const apiBase = '/api/v1';

export function createApi(services: ApiServices): OpenAPIHono<WebEnv> {
  const app = new OpenAPIHono<WebEnv>({
    defaultHook: (checked) => {
      if (!checked.success) refuseFaults(faultsOf(checked.target, checked.error));
    },
  });
  for (const endpoint of endpoints) {
    const route = { ...routeOf(endpoint), middleware: rulesOf(endpoint) };
    app.openapi(route, (c) =>
      answer(c, endpoint, {
        services,
        access: c.get('access'),
        params: validated(c, 'param'),
        query: validated(c, 'query'),
        body: validated(c, 'json'),
      }),
    );
  }
  const document = JSON.stringify(apiDocument());
  app.get('/openapi.json', requireRole('viewer', { checksLimits: true }), (c) =>
    c.body(document, 200, { 'Content-Type': 'application/json' }),
  );
  return app;
}

/** Of a route whose type is that of all of them. */
const validated = (c: Context<WebEnv>, target: 'param' | 'query' | 'json'): unknown =>
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion
  c.req.valid(target as never);

function rulesOf({ role, limitedTokens, key }: Endpoint): MiddlewareHandler<WebEnv>[] {
  const mayUse = requireRole(role, { checksLimits: limitedTokens === 'own' });
  return key === undefined
    ? [mayUse, refuseBody()]
    : [mayUse, requireCsrfHeader(), requireKey(key), limitBody(), readJson()];
}

/** A body that would be ignored is a mistake. */
const refuseBody = (): MiddlewareHandler<WebEnv> =>
  createMiddleware<WebEnv>(async (c, next) => {
    const length = c.req.header('content-length') ?? '0';
    if (length !== '0' || c.req.header('transfer-encoding') !== undefined) {
      refuseFaults([{ in: 'body', name: '', detail: 'a GET takes no body' }]);
    }
    await next();
  });

const places: Readonly<Record<string, Fault['in']>> = {
  param: 'path',
  query: 'query',
  header: 'header',
  json: 'body',
};

function faultsOf(target: string, { issues }: z.core.$ZodError): Fault[] {
  const place = places[target] ?? 'body';
  const named = (path: readonly PropertyKey[]): string =>
    place === 'body' ? path.map((part) => `/${String(part)}`).join('') : path.map(String).join('.');
  return issues.flatMap((issue) =>
    issue.code === 'unrecognized_keys'
      ? issue.keys.map((key) => ({
          in: place,
          name: named([...issue.path, key.slice(0, 100)]),
          detail: 'there is no such field',
        }))
      : [{ in: place, name: named(issue.path), detail: issue.message }],
  );
}

async function answer(
  c: Context<WebEnv>,
  endpoint: Endpoint,
  values: RequestValues,
): Promise<Response> {
  const { status } = endpoint;
  if (endpoint.begin === undefined) {
    return send(c, status, asSent(endpoint, await endpoint.read?.(values)));
  }
  const { act, after } = await endpoint.begin(values);
  const request = await keyedRequestOf(c);
  const done = await withLockTimeout(
    values.services.database,
    'the request',
    async (tx): Promise<KeyedAnswer> => {
      const run = async () => ({ status, answer: asSent(endpoint, await act(tx)) });
      return request === undefined
        ? { ...(await run()), isRepeated: false }
        : answerOnce(tx, request, run);
    },
  );
  if (done.isRepeated) c.header('Idempotency-Replayed', 'true');
  else await after();
  return send(c, done.status, done.answer);
}

async function keyedRequestOf(c: Context<WebEnv>): Promise<KeyedRequest | undefined> {
  const key = keyOf(c);
  if (key === undefined) return undefined;
  const { pathname, search } = new URL(c.req.url);
  return {
    operator: c.get('access').operator,
    key,
    method: c.req.method,
    path: pathname + search,
    body: new Uint8Array(await c.req.arrayBuffer()),
  };
}

/** As JSON has it, with the fields of its schema alone. */
const asSent = ({ answer: schema }: Endpoint, answer: unknown): unknown =>
  schema.parse(JSON.parse(JSON.stringify(answer)));

const send = (c: Context<WebEnv>, status: number, answer: unknown): Response =>
  answerText(c, { status, type: 'application/json', text: JSON.stringify(answer) });

const segmentsOf = (path: string): string[] => path.split('/').filter((part) => part !== '');

function isAt(template: string, path: string): boolean {
  const [wanted, given] = [segmentsOf(template), segmentsOf(path)];
  return (
    wanted.length === given.length &&
    wanted.every((part, index) => part.startsWith('{') || part === given[index])
  );
}

/** What is wrong with a path under /api that no endpoint has answered: 405 with the methods that it has, or 404. */
export function refusePath(c: Context<WebEnv>): never {
  const { path, method } = c.req;
  const below = path.startsWith(`${apiBase}/`) ? path.slice(apiBase.length) : undefined;
  const methods =
    below === undefined
      ? []
      : [...endpoints, { method: 'get', path: '/openapi.json' }]
          .filter((endpoint) => isAt(endpoint.path, below))
          .map((endpoint) => endpoint.method.toUpperCase());
  if (methods.length === 0) {
    throw new PurserError(
      'not_found',
      `there is nothing at this path; see ${apiBase}/openapi.json`,
      { status: 404 },
    );
  }
  const allowed = methods.includes('GET') ? [...methods, 'HEAD'] : methods;
  c.header('Allow', allowed.join(', '));
  throw new PurserError(
    'method_not_allowed',
    `${method} is not possible here; use ${allowed.join(', ')}`,
    { status: 405 },
  );
}
