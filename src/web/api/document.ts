/** The OpenAPI 3.1 document of the API, made from the endpoints. */
import { OpenAPIHono } from '@hono/zod-openapi';
import type { RouteConfig } from '@hono/zod-openapi';
import { z } from 'zod';
import { tags } from './endpoint.ts';
import type { Endpoint } from './endpoint.ts';
import { endpoints } from './endpoints/endpoints.ts';
import { keyHeader } from './requests/proof.ts';
import { problem } from './schemas/problem.ts';

const json = 'application/json';
const refusals: Readonly<Record<string, string>> = {
  400: 'The request is wrong: `errors` names each field',
  401: 'No login, or one that has ended',
  403: 'The role or the limits of the login do not allow it',
  404: 'There is no such thing, or the token may not see it',
  409: 'Not possible in its present state',
  413: 'The body is too large',
  415: 'The body is not application/json',
  422: 'The Idempotency-Key was used for another request',
  429: 'A limit is reached; see Retry-After',
  503: 'A store does not answer, or a lock was not free in time',
};
const ofReads = ['400', '401', '403', '404', '503'];

const keyOfWrites = (isRequired: boolean) => ({
  name: keyHeader,
  in: 'header' as const,
  required: isRequired,
  description:
    'Of your choice, new for each request and the same when it is sent again: the write acts once within 24 hours, and a ' +
    'repetition gets the same answer, with Idempotency-Replayed: true.',
  schema: { type: 'string' as const, minLength: 1, maxLength: 255 },
});

/** As the library takes it. Its validators check what the document says. */
export function routeOf(endpoint: Endpoint): RouteConfig {
  const { method, path, operationId, summary, tag, role, limitedTokens, key } = endpoint;
  const { params, query = z.strictObject({}), body } = endpoint;
  const statuses = key === undefined ? ofReads : Object.keys(refusals);
  const ofBody = {
    required: body !== undefined && !body.safeParse({}).success,
    content: { [json]: { schema: body ?? z.strictObject({}) } },
  };
  return {
    method,
    path,
    operationId,
    summary,
    tags: [tag],
    description: [
      ...(endpoint.description === undefined ? [] : [endpoint.description]),
      `Role: ${role}.`,
      limitedTokens === 'own'
        ? 'A token that is limited to tenants or job types sees and changes what is within its limits.'
        : 'Not for tokens that are limited to tenants or job types.',
    ].join('\n\n'),
    'x-role': role,
    'x-limited-tokens': limitedTokens,
    ...(key === undefined ? {} : { 'x-idempotency-key': key }),
    ...(key === undefined ? {} : { parameters: [keyOfWrites(key === 'required')] }),
    request: {
      query,
      ...(params === undefined ? {} : { params }),
      ...(key === undefined ? {} : { body: ofBody }),
    },
    responses: {
      [endpoint.status]: {
        description: 'Done',
        content: { [json]: { schema: endpoint.answer } },
      },
      ...Object.fromEntries(
        statuses.map((status) => [
          status,
          {
            description: refusals[status] ?? '',
            content: { 'application/problem+json': { schema: problem } },
          },
        ]),
      ),
    },
  };
}

/** The document; the same for every process of one version. */
export function apiDocument(): object {
  const app = new OpenAPIHono();
  const { openAPIRegistry: registry } = app;
  registry.registerComponent('securitySchemes', 'token', {
    type: 'http',
    scheme: 'bearer',
    description: 'purser tokens add NAME --role ROLE',
  });
  registry.registerComponent('securitySchemes', 'session', {
    type: 'apiKey',
    in: 'cookie',
    name: 'purser_session',
    description: 'Of a browser; its writes need the header X-CSRF-Token too.',
  });
  for (const endpoint of endpoints) registry.registerPath(routeOf(endpoint));
  return app.getOpenAPI31Document({
    openapi: '3.1.0',
    info: {
      title: 'Purser',
      version: 'v1',
      description:
        'Jobs, dead letters, money and the fleet of Purser. Errors are application/problem+json with a stable `code`; ' +
        'lists go on with `cursor`, from `next` of the page before.',
    },
    servers: [{ url: '/api/v1' }],
    security: [{ token: [] }, { session: [] }],
    tags: tags.map((name) => ({ name })),
  });
}
