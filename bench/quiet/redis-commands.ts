/** The commands that a Redis runs: counted by itself, and by their origin as its MONITOR shows them. */
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { Redis } from 'ioredis';

export interface RedisCommands {
  /** Commands by name since the server's start, those inside scripts included. */
  count(): Promise<ReadonlyMap<string, number>>;
  /** Commands by origin while `during` lasts. */
  origins(during: Promise<unknown>): Promise<ReadonlyMap<string, OriginCount>>;
  close(): void;
}

export interface OriginCount {
  /** Requests of clients. */
  sent: number;
  /** Commands that their scripts ran. */
  inScripts: number;
}

/** Of the benchmark itself. */
const ownCommands = new Set(['info', 'monitor', 'client|setinfo', 'hello', 'client|setname']);

export function openRedisCommands(url: string): RedisCommands {
  const redis = new Redis(url);
  return {
    count: async () => {
      const text = await redis.info('commandstats');
      const counts = [...text.matchAll(/^cmdstat_([^:]+):calls=(\d+)/gm)].map(
        ([, name = '', calls = '0']) => [name, Number(calls)] as const,
      );
      return new Map(counts.filter(([name]) => !ownCommands.has(name)));
    },
    origins: async (during) => {
      const origins = new Map<string, OriginCount>();
      let script = 'other';
      const { hostname, port } = new URL(url);
      // The client's own MONITOR fails with RESP3.
      const socket = connect(Number(port), hostname);
      createInterface({ input: socket }).on('line', (line) => {
        const [, source, command] = /^\+[\d.]+ \[\d+ ([^\]]+)\] (.*)$/.exec(line) ?? [];
        if (source === undefined || command === undefined) return;
        const inScript = source === 'lua';
        const origin = inScript ? script : originOf(command);
        if (!inScript) script = origin;
        const known = origins.get(origin) ?? { sent: 0, inScripts: 0 };
        origins.set(origin, known);
        known[inScript ? 'inScripts' : 'sent'] += 1;
      });
      socket.write('MONITOR\r\n');
      try {
        await during;
      } finally {
        socket.destroy();
      }
      origins.delete('benchmark');
      return origins;
    },
    close: () => redis.disconnect(),
  };
}

/** By the name of the command, and of a script by its keys. */
function originOf(command: string): string {
  const name = /^"([^"]*)"/.exec(command)?.[1]?.toLowerCase() ?? '';
  const has = (part: string): boolean => command.includes(part);
  switch (name) {
    case 'info':
      return 'benchmark';
    case 'bzpopmin':
      return 'BullMQ: wait for an entry';
    case 'ping':
      return 'Purser: is the store there';
    case 'set':
      if (has(':user"')) return 'Purser: mark of the queues';
      return has(':write-probe') ? 'Purser: does the store take writes' : 'other';
    case 'eval':
    case 'evalsha':
      if (has(':stalled-check')) return 'BullMQ: entries of dead workers';
      if (has(':dead-letter:')) return 'Purser: mirror of the dead letters';
      return has(':marker') ? 'BullMQ: take an entry' : 'other script';
    default:
      return `other: ${name}`;
  }
}
