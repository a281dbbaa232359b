/**
 * Who uses the queues of a fleet in Redis. A copied database has the fleet's id, and so its queues, too; the mark names
 * a process and its heartbeat, which only the database of that process knows.
 */
export interface QueueUser {
  readonly processId: string;
  /** Of a committed heartbeat, in the database's words. */
  readonly beatAt: string;
  readonly database: string;
}

export interface UserMark {
  /** Called after a heartbeat. Never rejects: the next one marks again. */
  write(user: QueueUser): Promise<void>;
  /** undefined: nobody has used the queues for `markKeptMs`. Rejects if Redis is unavailable. */
  read(): Promise<QueueUser | undefined>;
  /** Of a process that stops in order. Never rejects. */
  remove(processId: string): Promise<void>;
}

/** Some heartbeats long. */
export const markKeptMs = 8_000;

/** The part of a Redis client that is used. */
interface Client {
  get(key: string): Promise<string | null>;
  set(key: string, value: string, unit: 'PX', ttlMs: number): Promise<unknown>;
  del(key: string): Promise<unknown>;
}

export function openUserMark(client: Client, key: string): UserMark {
  const read = async (): Promise<QueueUser | undefined> => {
    const text = await client.get(key);
    if (text === null) return undefined;
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- written by `write`
    return JSON.parse(text) as QueueUser;
  };
  return {
    read,
    write: async (user) => {
      await client.set(key, JSON.stringify(user), 'PX', markKeptMs).catch(() => {});
    },
    remove: async (processId) => {
      const user = await read().catch(() => undefined);
      if (user?.processId === processId) await client.del(key).catch(() => {});
    },
  };
}
