/** Real errors of Node, fetch and undici where they can be had; those of other clients by their fields. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isStoreUnavailable } from '../../../src/db/store-errors.ts';
import { JobTimeoutError, PurserError } from '../../../src/errors.ts';
import { LlmError } from '../../../src/llm/llm.ts';
import { failureCode } from '../../../src/worker/failure-code.ts';

const server = createServer((request, response) => {
  if (request.url === '/reset') request.socket.destroy();
  else if (request.url === '/slow') setTimeout(() => response.end(), 60_000).unref();
  else response.writeHead(403).end();
});
let base: string;
let closedPort: number;

beforeAll(async () => {
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const other = createServer();
  await new Promise<void>((resolve) => void other.listen(0, '127.0.0.1', resolve));
  closedPort = (other.address() as AddressInfo).port;
  await new Promise((resolve) => other.close(resolve));
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});

async function thrownBy(run: () => unknown): Promise<unknown> {
  try {
    await run();
  } catch (error) {
    return error;
  }
  throw new Error('nothing was thrown');
}

describe('of fetch', () => {
  it.each([
    ['a refused connection', () => fetch(`http://127.0.0.1:${closedPort}/`), 'connection_refused'],
    ['a connection that is cut', () => fetch(`${base}/reset`), 'connection_reset'],
    ['a host that is not there', () => fetch('http://nowhere.invalid/'), 'host_not_found'],
    [
      'a timeout',
      () => fetch(`${base}/slow`, { signal: AbortSignal.timeout(20) }),
      'timeout_error',
    ],
    ['an abort', () => fetch(base, { signal: AbortSignal.abort() }), 'abort_error'],
    ['an address that is none', () => fetch('not an address'), 'invalid_url'],
  ])('%s', async (_what, run, code) => {
    expect(failureCode(await thrownBy(run))).toBe(code);
  });
});

class PaymentDeclinedError extends Error {
  override readonly name = 'PaymentDeclinedError';
}
const refused = Object.assign(new Error('connect'), { code: 'ECONNREFUSED' });
const answered = (fields: object) => Object.assign(new Error('no success'), fields);

it.each<[string, unknown, string]>([
  ['a status', answered({ status: 403 }), 'http_403'],
  ['a status of an answer', answered({ response: { statusCode: 404 } }), 'http_404'],
  ['axios', answered({ code: 'ERR_BAD_REQUEST', status: 422, response: {} }), 'http_422'],
  [
    'got',
    answered({ code: 'ERR_NON_2XX_3XX_RESPONSE', response: { statusCode: 503 } }),
    'http_503',
  ],
  ['undici', answered({ code: 'UND_ERR_RESPONSE', statusCode: 500 }), 'http_500'],
  ['a status that is none', answered({ status: 'open', statusCode: 7 }), 'error'],
  [
    'an own code beside a status',
    answered({ code: 'card_declined', status: 402 }),
    'card_declined',
  ],
  ['a socket', refused, 'ECONNREFUSED'],
  ['a socket below another error', new Error('no rates', { cause: refused }), 'connection_refused'],
  ['several sockets', new AggregateError([refused], 'all failed'), 'connection_refused'],
  [
    'an untrusted certificate',
    new TypeError('fetch failed', { cause: answered({ code: 'DEPTH_ZERO_SELF_SIGNED_CERT' }) }),
    'certificate_refused',
  ],
  ['an SQLSTATE', answered({ code: '23505' }), '23505'],
  [
    'an SQLSTATE below another error',
    new Error('no', { cause: answered({ code: '57P01' }) }),
    'error',
  ],
  ['Purser', new PurserError('backlog_full', 'full'), 'backlog_full'],
  ['the deadline', new JobTimeoutError('t', 1), 'job_timeout'],
  [
    'the deadline of another below it',
    new Error('no', { cause: new JobTimeoutError('t', 1) }),
    'error',
  ],
  [
    'an LLM call below another error',
    new Error('no', {
      cause: new LlmError('llm_auth', 'x', { class: 'fatal', outcome: 'released' }),
    }),
    'llm_auth',
  ],
  ['a wrong type', new TypeError('x is not a function'), 'type_error'],
  ['a class of the handler', new PaymentDeclinedError('no'), 'payment_declined_error'],
  ['a name that is no word', Object.assign(new Error('x'), { name: 'job 17 of acme' }), 'error'],
  ['a plain error', new Error('x'), 'error'],
  ['null', null, 'not_an_error'],
  ['undefined', undefined, 'not_an_error'],
  ['a text', 'boom', 'not_an_error'],
  ['an object', { reason: 'x' }, 'not_an_error'],
  ['an object with a code', { code: 'mine' }, 'mine'],
])('of %s', (_what, thrown, code) => {
  expect(failureCode(thrown)).toBe(code);
});

it('a cause that is its own cause ends', () => {
  const own: Error & { cause?: unknown } = new Error('x');
  own.cause = own;
  expect(failureCode(own)).toBe('error');
});

it('no code that is not its own is taken for an outage of the store, which costs no attempt', () => {
  const causes = [
    'ECONNREFUSED',
    'ECONNRESET',
    'ETIMEDOUT',
    'EAI_AGAIN',
    'EPIPE',
    '57P01',
    '40001',
  ];
  for (const code of causes) {
    const derived = failureCode(new TypeError('fetch failed', { cause: answered({ code }) }));
    expect([code, derived, isStoreUnavailable({ code: derived })]).toEqual([code, derived, false]);
  }
});
