/** Write probes of the queue store: a store that answers reads may refuse writes. */
import { explainTls } from '../connection-faults.ts';
import { codeOf, messageOf, PurserError } from '../errors.ts';

const writeEveryMs = 1_000;

/** Calls `write` when the last successful write is older than a second, and otherwise `ping`. */
export function throttledWrite(
  ping: () => Promise<unknown>,
  write: () => Promise<void>,
): () => Promise<void> {
  let writtenAtMs = -Infinity;
  return async () => {
    if (performance.now() - writtenAtMs < writeEveryMs) {
      await ping();
      return;
    }
    await write();
    writtenAtMs = performance.now();
  };
}

/** Redis answers a command that it refuses with an error reply; any other error means that it could not be reached. */
export const isErrorReply = (error: unknown): error is Error =>
  error instanceof Error && error.name === 'ReplyError';

export function redisRefusal(error: unknown): unknown {
  if (!isErrorReply(error)) return error;
  return refusal(error.message.startsWith('READONLY'), error);
}

/** The part of a pg.Pool that a ping uses. `query_timeout` is an option of pg that its types lack. */
interface PingedPool {
  query(statement: { readonly text: string; readonly query_timeout: number }): Promise<unknown>;
}

/** After the limit the connection is closed: a half-open one must not keep its place in the pool. */
export async function pingPool(pool: PingedPool, limitMs: number): Promise<void> {
  await pool.query({ text: 'select 1', query_timeout: limitMs }).catch((error: unknown) => {
    throw explainTls(error, 'Postgres');
  });
}

/** The part of a pg.Pool that a probe uses. */
interface Pool {
  connect(): Promise<{
    query(text: string): Promise<unknown>;
    release(destroy?: boolean): void;
  }>;
}

/** SQLSTATE of a write in a read-only transaction. */
const readOnlyTransaction = '25006';
/** SQLSTATE classes of refusals by a server that answers: access rules, resources, limits, system errors. */
const refusedWrite = /^(42|53|54|58)\w{3}$/;

/** Writes one row of BullMQ's table `meta`. A read-only connection is closed, so that the pool connects again. */
export async function probePool(pool: Pool): Promise<void> {
  const client = await pool.connect();
  let readOnly = false;
  try {
    await client.query(
      "insert into meta (queue, field, value) values ('purser', 'write-probe', now()::text) " +
        'on conflict (queue, field) do update set value = excluded.value',
    );
  } catch (error) {
    const code = codeOf(error);
    readOnly = code === readOnlyTransaction;
    throw readOnly || refusedWrite.test(code) ? refusal(readOnly, error) : error;
  } finally {
    client.release(readOnly);
  }
}

function refusal(readOnly: boolean, cause: unknown): PurserError {
  return readOnly
    ? new PurserError('queue_store_read_only', 'the queue store is read-only', {
        status: 503,
        cause,
      })
    : new PurserError(
        'queue_store_refuses_writes',
        `the queue store refuses writes: ${messageOf(cause)}`,
        { status: 503, cause },
      );
}
