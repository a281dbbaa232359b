/** Requests as simple health checks send them: HTTP/1.0 without a Host header. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { csrfTokenOf } from '../../src/web/access/csrf.ts';
import { openDoor } from '../../src/web/door.ts';
import { basic, credentials, startFixture } from './web-fixture.ts';
import type { WebFixture } from './web-fixture.ts';

/** The status of an answer to `lines`. */
async function statusOf(port: number, ...lines: string[]): Promise<number> {
  const socket = connect(port, '127.0.0.1');
  await once(socket, 'connect');
  socket.write(`${lines.join('\r\n')}\r\n\r\n`);
  return Number(/^HTTP\/1\.1 (\d{3}) /.exec(await text(socket))?.[1]);
}

it('answers them while the process starts', async () => {
  const door = await openDoor({ host: '127.0.0.1', port: 0 });
  try {
    expect(await statusOf(door.port, 'GET /healthz HTTP/1.0')).toBe(200);
    expect(await statusOf(door.port, 'HEAD /healthz HTTP/1.0')).toBe(200);
    expect(await statusOf(door.port, 'GET /readyz HTTP/1.0')).toBe(503);
    expect(await statusOf(door.port, 'GET /healthz HTTP/1.1', 'Connection: close')).toBe(400);
  } finally {
    await door.close();
  }
});

describe('a web role', () => {
  let fixture: WebFixture;
  beforeAll(async () => {
    fixture = await startFixture();
  });
  afterAll(() => fixture.close());
  const status = (...lines: string[]) => statusOf(fixture.web.port, ...lines);
  const login = `Authorization: ${basic(credentials.user, credentials.password)}`;

  it('answers them, and asks for the login as it always does', async () => {
    expect(await status('GET /healthz HTTP/1.0')).toBe(200);
    await expect.poll(() => status('GET /readyz HTTP/1.0'), { timeout: 15_000 }).toBe(200);
    expect(await status('HEAD /readyz HTTP/1.0')).toBe(200);
    expect(await status('GET /status HTTP/1.0')).toBe(503);
    expect(await status('GET /metrics HTTP/1.0')).toBe(401);
    expect(await status('GET /metrics HTTP/1.0', login)).toBe(200);
  });

  it('takes no change without a Host, whatever its Origin says', async () => {
    const body = `csrf=${csrfTokenOf(JSON.stringify(credentials))}`;
    const form = 'Content-Type: application/x-www-form-urlencoded';
    const post = (...headers: string[]) =>
      status(
        'POST /logout HTTP/1.0',
        login,
        form,
        `Content-Length: ${body.length}`,
        ...headers,
        '',
        body,
      );
    for (const origin of ['http://localhost', 'http://undefined', 'null']) {
      expect(await post(`Origin: ${origin}`)).toBe(403);
    }
    expect(await post('Host: here', 'Origin: http://here')).toBe(303);
  });
});
