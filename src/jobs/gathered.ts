/**
 * Concurrent enqueues on one pool, outside of transactions, share statements: the cost of one is a round trip and a
 * commit. A call by itself is sent at once. A request that cannot be enqueued fails alone, and none is enqueued twice.
 */
import { Gatherer } from '../db/gather/gatherer.ts';
import { asBacklogFull } from '../db/guard/backlog-full.ts';
import { codeOf, PurserError } from '../errors.ts';
import type { Connection } from './connection.ts';

/** A request that was checked, as JSON text of an element of purser.enqueue_many. */
export interface GatheredRequest {
  readonly tenantId: string;
  readonly text: string;
  /** Enqueues it in a statement of its own. */
  readonly alone: () => Promise<string>;
}

interface Waiting extends GatheredRequest {
  readonly resolve: (jobId: string | Promise<string>) => void;
  readonly reject: (error: unknown) => void;
}

/** Enqueues all requests of a JSON array, or none. Answers their job ids in order. */
type SendTogether = (requests: string) => Promise<string[]>;

const maxTogether = 500;
const maxCharacters = 4 * 1024 * 1024;
const longestWaitMs = 20;

/**
 * Errors after which the statement has certainly changed nothing. A lost connection is none: its commit may have
 * happened, so repeating could enqueue twice.
 */
const rolledBack = /^(PU|P0|22|23|40|42|54|55)/;

/** Resolves to the job's id, like `alone` of the request. */
type Enqueue = (request: GatheredRequest) => Promise<string>;

function createGatherer(send: SendTogether): Enqueue {
  const gatherer = new Gatherer<Waiting>((batch) => enqueueBatch(batch, send), {
    maxItems: maxTogether,
    maxSize: maxCharacters,
    sizeOf: ({ text }) => text.length,
    longestWaitMs,
  });
  return (request) =>
    new Promise((resolve, reject) => {
      gatherer.add({ ...request, resolve, reject });
    });
}

async function enqueueBatch(batch: readonly Waiting[], send: SendTogether): Promise<void> {
  const [first] = batch;
  if (batch.length === 1 && first !== undefined) {
    const answer = first.alone();
    first.resolve(answer);
    await answer.catch(() => {});
    return;
  }
  try {
    const jobIds = await send(`[${batch.map(({ text }) => text).join(',')}]`);
    for (const [index, { resolve, reject }] of batch.entries()) {
      const jobId = jobIds[index];
      if (jobId === undefined) reject(new Error('purser.enqueue_gathered returned too few rows'));
      else resolve(jobId);
    }
  } catch (error) {
    if (!rolledBack.test(codeOf(error))) {
      for (const { reject } of batch) reject(error);
      return;
    }
    const full = asBacklogFull(error)?.details;
    const isOfFull = ({ tenantId }: Waiting) => tenantId === full?.['tenantId'];
    if (full === undefined || !batch.some(isOfFull)) {
      for (const { alone, resolve } of batch) resolve(alone());
      return;
    }
    void enqueueIntoFull(batch.filter(isOfFull), full, send);
    const others = batch.filter((request) => !isOfFull(request));
    if (others.length > 0) await enqueueBatch(others, send);
  }
}

/**
 * Requests of a tenant whose backlog has no room for all of them: together as many as it has room for, then one by one.
 * When one is refused because of the number of jobs, there is no room for any other.
 */
async function enqueueIntoFull(
  requests: readonly Waiting[],
  { unit, limit, have }: Readonly<Record<string, unknown>>,
  send: SendTogether,
): Promise<void> {
  if (unit !== 'jobs') {
    for (const { alone, resolve } of requests) resolve(alone());
    return;
  }
  const room = Math.max(0, Math.min(requests.length - 1, Number(limit) - Number(have)));
  if (room > 0) await enqueueBatch(requests.slice(0, room), send);
  const rest = requests.slice(room);
  for (const [index, { alone, resolve, reject }] of rest.entries()) {
    try {
      resolve(await alone());
    } catch (error) {
      reject(error);
      if (!isFullOfJobs(error)) continue;
      for (const later of rest.slice(index + 1)) later.reject(error);
      return;
    }
  }
}

const isFullOfJobs = (error: unknown): boolean =>
  error instanceof PurserError && error.code === 'backlog_full' && error.details['unit'] === 'jobs';

const gatherers = new WeakMap<object, Enqueue>();

/** undefined for what may be in a transaction: a transaction, a client, a pool with one connection. */
export function gathererOf(
  connection: Connection,
  sendTogether: SendTogether,
): Enqueue | undefined {
  const known = gatherers.get(connection);
  if (known !== undefined) return known;
  if (!isPool(connection)) return undefined;
  const gatherer = createGatherer(sendTogether);
  gatherers.set(connection, gatherer);
  return gatherer;
}

/** With more than one connection. postgres.js: only a pool can begin a transaction. pg: only a pool counts its clients. */
export function isPool(connection: Connection): boolean {
  const isOne =
    'begin' in connection
      ? !('savepoint' in connection || 'release' in connection)
      : 'totalCount' in connection && 'idleCount' in connection;
  return isOne && maxOf(connection) > 1;
}

function maxOf(connection: Connection): number {
  if (!('options' in connection)) return 0;
  const { options } = connection;
  const isObject = typeof options === 'object' && options !== null && 'max' in options;
  return isObject ? Number(options.max) : 0;
}
