/** A request as it is written: fetch would normalise its path, and read no answer before its body is sent. */
import { once } from 'node:events';
import { request as httpRequest } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { text } from 'node:stream/consumers';
import type { Json } from '../api-fixture.ts';

interface RawRequest {
  readonly method: string;
  readonly path: string;
  readonly headers?: Record<string, string>;
  readonly body?: string | Buffer;
}

export interface RawAnswer {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  /** Of a problem. */
  readonly json: Json;
}

async function sendRaw(
  url: string,
  { method, path, headers = {}, body }: RawRequest,
): Promise<RawAnswer> {
  const { hostname, port } = new URL(url);
  const sent = httpRequest({ agent: false, hostname, port, method, path, headers });
  // The rest of a body that was refused cannot be written.
  sent.on('error', () => {});
  sent.on('socket', (socket) => socket.on('error', () => {}));
  sent.end(body);
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  const found = await text(response);
  const isProblem = response.headers['content-type'] === 'application/problem+json';
  return {
    status: response.statusCode ?? 0,
    headers: response.headers,
    json: isProblem ? JSON.parse(found) : undefined,
  };
}

export type RawAsk = (
  method: string,
  path: string,
  headers?: Record<string, string>,
  body?: string | Buffer,
) => Promise<RawAnswer>;

/** With these headers besides those of each request. */
export const rawWith =
  (url: string, always: Record<string, string>): RawAsk =>
  (method, path, headers = {}, body) =>
    sendRaw(url, {
      method,
      path,
      headers: { ...always, ...headers },
      ...(body === undefined ? {} : { body }),
    });
