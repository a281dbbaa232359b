/**
 * The port of the web role. It listens before the stores are reached, so that a router is not refused during an outage:
 * until the application serves, `/healthz` says that the process lives and everything else answers 503.
 */
import { createAdaptorServer } from '@hono/node-server';
import { once } from 'node:events';
import { Server } from 'node:http';
import { Hono } from 'hono';
import { exitCodes, messageOf, PurserError } from '../errors.ts';
import { cachePolicy, securityHeaders } from './access/browser-rules.ts';

/** An application as Hono's adaptor calls it. */
export type Fetch = Parameters<typeof createAdaptorServer>[0]['fetch'];

export interface Door {
  readonly port: number;
  /** From now on this application answers. */
  serve(fetch: Fetch): void;
  /** Accepts no new request and lets open ones end (at most 3 s). May be called twice. */
  close(): Promise<void>;
}

export interface DoorOptions {
  /** Default: all interfaces, as a platform's router expects. */
  readonly host?: string | undefined;
  /** 0 chooses a free port. */
  readonly port: number;
  /** What the process does before it serves, as a word for `/readyz`. */
  readonly startsWith?: (() => string) | undefined;
}

const closeGraceMs = 3_000;

/** Throws `port_unavailable` (exit 69) when it cannot listen. */
export async function openDoor(options: DoorOptions): Promise<Door> {
  let fetch: Fetch = startingApp(options.startsWith ?? (() => 'starting')).fetch;
  const server = createAdaptorServer({
    fetch: (request, env) => fetch(request, env),
    // Of a request without a Host header, which HTTP/1.0 allows and simple health checks send.
    hostname: 'localhost',
    serverOptions: { requestTimeout: 30_000, headersTimeout: 10_000 },
  });
  if (!(server instanceof Server)) throw new Error('the adaptor made no HTTP/1 server');
  let closed: Promise<void> | undefined;
  return {
    port: await listen(server, options),
    serve: (next) => {
      fetch = next;
    },
    close: () => (closed ??= close(server)),
  };
}

function startingApp(startsWith: () => string): Hono {
  const app = new Hono();
  app.use(securityHeaders('/queues'), cachePolicy());
  app.get('/healthz', (c) => c.json({ alive: true }));
  app.get('/readyz', (c) =>
    c.json({ ready: false, notReady: [{ part: 'startup', reason: startsWith() }] }, 503),
  );
  app.all('*', (c) => {
    c.header('Retry-After', '5');
    return c.json({ error: 'starting', message: 'this process is starting; try again' }, 503);
  });
  return app;
}

async function listen(server: Server, { host, port }: DoorOptions): Promise<number> {
  try {
    server.listen({ port, ...(host === undefined ? {} : { host }) });
    await once(server, 'listening');
  } catch (error) {
    throw new PurserError(
      'port_unavailable',
      `cannot listen on port ${port}: ${messageOf(error)}; set PORT to a free port`,
      { cause: error, exitCode: exitCodes.unavailable },
    );
  }
  const address = server.address();
  return address !== null && typeof address === 'object' ? address.port : port;
}

async function close(server: Server): Promise<void> {
  const closed = once(server, 'close');
  server.close();
  server.closeIdleConnections();
  const timer = setTimeout(() => server.closeAllConnections(), closeGraceMs);
  await closed;
  clearTimeout(timer);
}
