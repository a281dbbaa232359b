/**
 * The keys of a BullMQ queue on Redis and their types. A key of another type makes a command of BullMQ fail: entries
 * are not taken, or do not end, while the store itself answers.
 */
export const queueKeyTypes: Readonly<Record<string, string>> = {
  wait: 'list',
  paused: 'list',
  active: 'list',
  prioritized: 'zset',
  delayed: 'zset',
  completed: 'zset',
  failed: 'zset',
  stalled: 'set',
  meta: 'hash',
  marker: 'zset',
  events: 'stream',
  limiter: 'string',
  id: 'string',
  pc: 'string',
};

export interface DamagedKey {
  readonly key: string;
  readonly type: string;
  readonly expected: string;
}

/** The part of a Redis client that is used. */
interface Client {
  type(key: string): Promise<string>;
}

/** Keys of the queue `queueKey` (with its prefix) that have another type than BullMQ gives them. */
export async function listDamagedKeys(client: Client, queueKey: string): Promise<DamagedKey[]> {
  const found = await Promise.all(
    Object.entries(queueKeyTypes).map(async ([name, expected]) => {
      const key = `${queueKey}:${name}`;
      return { key, expected, type: await client.type(key) };
    }),
  );
  return found.filter(({ type, expected }) => type !== 'none' && type !== expected);
}
