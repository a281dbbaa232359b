/**
 * A TCP proxy in front of Postgres or Redis. A test makes its network reset, refuse, half-open (bytes are dropped both
 * ways), slow, or lose the answer to one statement.
 */
import { createServer, connect as connectTo } from 'node:net';
import type { Socket } from 'node:net';
import { PostgresLink } from './postgres-wire.ts';
import type { StatementTest } from './postgres-wire.ts';

type Mode = 'pass' | 'refuse' | 'half-open';

interface Link {
  readonly client: Socket;
  readonly server: Socket;
  /** Bytes of it were dropped: it must not be used again. */
  isMute: boolean;
}

export interface Proxy {
  /** The same URL through the proxy. */
  through(url: string): string;
  /** Connections open now. */
  size(): number;
  /** Connections so far. */
  accepted(): number;
  /** Resets every connection; the next ones come through. */
  cut(): void;
  /** Resets every connection and refuses new ones until pass(), after `answer` to what the client says first. */
  refuse(answer?: Buffer): void;
  /** From now on bytes of all connections are dropped, both ways, without an error. */
  halfOpen(): void;
  /** Back to normal. Connections that lost bytes are reset, or with `forgetMute: false` stay mute for good. */
  pass(options?: { readonly forgetMute?: boolean }): void;
  /** Every chunk arrives this much later, both ways. */
  delay(ms: number): void;
  /**
   * Postgres only: the server carries out the next statement that is wanted, its answer is lost and the
   * connection reset. lost() is the statement's text once that has happened.
   */
  loseAnswerTo(isWanted: StatementTest): { lost(): string | undefined };
  /** Refuses new connections and resets open ones. */
  stop(): Promise<void>;
}

export interface ProxyOptions {
  readonly host?: string;
  readonly port: number;
  /** Understand the Postgres protocol, which loseAnswerTo() needs. */
  readonly speaks?: 'postgres';
}

export async function startProxy(options: ProxyOptions): Promise<Proxy> {
  const links = new Set<Link>();
  let mode: Mode = 'pass';
  let refusal: Buffer | undefined;
  let delayMs = 0;
  let accepted = 0;
  let wanted: { isWanted: StatementTest; lost: (statement: string) => void } | undefined;

  const end = (link: Link): void => {
    links.delete(link);
    link.client.resetAndDestroy();
    link.server.resetAndDestroy();
  };
  const write = (to: Socket, bytes: Buffer): void => {
    if (bytes.length === 0) return;
    if (delayMs === 0) to.write(bytes);
    else setTimeout(() => to.destroyed || to.write(bytes), delayMs);
  };

  const accept = (client: Socket): void => {
    accepted += 1;
    if (mode === 'refuse') {
      const answer = refusal;
      client.on('error', () => {});
      if (answer === undefined) client.resetAndDestroy();
      else client.once('data', () => client.end(answer));
      return;
    }
    const server = connectTo({ host: options.host ?? '127.0.0.1', port: options.port });
    const link: Link = { client, server, isMute: false };
    const wire =
      options.speaks === undefined
        ? undefined
        : new PostgresLink((statement, before) => wanted?.isWanted(statement, before) === true);
    links.add(link);
    const hears = (): boolean => {
      if (mode === 'half-open') link.isMute = true;
      return !link.isMute;
    };
    client.on('data', (chunk) => {
      if (!hears()) return;
      wire?.sent(chunk);
      write(server, chunk);
    });
    server.on('data', (chunk) => {
      if (!hears()) return;
      const { forward, lost } = wire?.received(chunk) ?? { forward: chunk, lost: undefined };
      write(client, forward);
      if (lost === undefined) return;
      wanted?.lost(lost);
      wanted = undefined;
      end(link);
    });
    join(link, client, server);
    join(link, server, client);
  };

  /** An orderly end of one side is passed on after what it said last; a broken one at once. */
  const join = (link: Link, near: Socket, far: Socket): void => {
    near.setNoDelay(true);
    near.on('error', () => {});
    near.on('end', () => link.isMute || far.end());
    near.on('close', (broken) => {
      if (near.destroyed && far.destroyed) links.delete(link);
      // A half-open connection does not report that its other side has ended.
      else if (broken && !link.isMute) end(link);
    });
  };

  const listener = createServer(accept);
  await new Promise<void>((resolve) => {
    listener.listen(0, '127.0.0.1', resolve);
  });
  const address = listener.address();
  if (address === null || typeof address === 'string') throw new Error('the proxy has no port');
  const cut = (): void => [...links].forEach(end);
  return {
    through: (url) => {
      const through = new URL(url);
      through.hostname = '127.0.0.1';
      through.port = String(address.port);
      return through.href;
    },
    size: () => links.size,
    accepted: () => accepted,
    cut,
    refuse: (answer) => {
      mode = 'refuse';
      refusal = answer;
      cut();
    },
    halfOpen: () => {
      mode = 'half-open';
      // Idle ones too: everything that they send from now on is lost.
      for (const link of links) link.isMute = true;
    },
    pass: ({ forgetMute = true } = {}) => {
      mode = 'pass';
      if (forgetMute) [...links].filter(({ isMute }) => isMute).forEach(end);
    },
    delay: (ms) => {
      delayMs = ms;
    },
    loseAnswerTo: (isWanted) => {
      if (options.speaks === undefined) throw new Error('this proxy does not speak Postgres');
      let statement: string | undefined;
      wanted = {
        isWanted,
        lost: (text) => {
          statement = text;
        },
      };
      return { lost: () => statement };
    },
    stop: async () => {
      cut();
      await new Promise((resolve) => {
        listener.close(resolve);
      });
    },
  };
}
