/**
 * Answers to writes by the key that the client chose: a write that is repeated under its key acts once, and is answered as
 * before. The key is taken and the answer stored in the transaction of the act, so that a crash between two steps leaves
 * either all of it or nothing, and two requests at once wait for each other.
 */
import { createHash } from 'node:crypto';
import type { Queryable, Tx } from '../../db/connect.ts';
import { lockTimeout } from '../../db/row-faults.ts';
import { codeOf, PurserError } from '../../errors.ts';
import type { Operator } from '../audit.ts';

/** For so long a key names its request. */
const keptHours = 24;

/** What a client asks for under its key. */
export interface KeyedRequest {
  readonly operator: Pick<Operator, 'name' | 'proof'>;
  readonly key: string;
  readonly method: string;
  /** With its query. */
  readonly path: string;
  readonly body: Uint8Array;
}

export interface StoredAnswer {
  readonly status: number;
  readonly answer: unknown;
}

export interface KeyedAnswer extends StoredAnswer {
  /** true: nothing was done, because it was done before. */
  readonly isRepeated: boolean;
}

const hash = (...parts: readonly (string | Uint8Array)[]): Buffer => {
  const digest = createHash('sha256');
  // The length of each part first: no two lists of parts are the same bytes.
  for (const part of parts) digest.update(`${Buffer.byteLength(part)}:`).update(part);
  return digest.digest();
};

const lockNotAvailable = '55P03';

/**
 * Runs `act` and keeps its answer, or returns the answer that was kept. Throws `idempotency_key_reused` (422) where the key
 * names another request, and `idempotency_key_in_use` (409) where the first request has not ended within the lock timeout
 * of the transaction. What `act` throws undoes the key with it: a refused request may be sent again.
 */
export async function answerOnce(
  tx: Tx,
  request: KeyedRequest,
  act: () => Promise<StoredAnswer>,
): Promise<KeyedAnswer> {
  const { operator, key, method, path, body } = request;
  const keyHash = hash(operator.proof, operator.name, key);
  const requestHash = hash(method, path, body);
  if (!(await takeKey(tx, keyHash, requestHash))) return repeat(tx, keyHash, requestHash);
  const { status, answer } = await act();
  await storeAnswer(tx, keyHash, { status, answer });
  return { status, answer, isRepeated: false };
}

/** False where it is taken. Waits for an open transaction that has taken it. */
async function takeKey(tx: Queryable, keyHash: Buffer, requestHash: Buffer): Promise<boolean> {
  try {
    const taken = await tx`
      insert into purser.idempotency_keys as k (key_hash, request_hash, expires_at)
      values (${keyHash}, ${requestHash}, now() + ${keptHours} * interval '1 hour')
      on conflict (key_hash) do update
        set request_hash = excluded.request_hash, status = null, answer = null, expires_at = excluded.expires_at
        where k.expires_at <= now()
      returning key_hash`;
    return taken.length > 0;
  } catch (error) {
    if (codeOf(error) !== lockNotAvailable) throw error;
    throw new PurserError(
      'idempotency_key_in_use',
      'a request with this Idempotency-Key is still running; send it again in a few seconds',
      // Without its cause, which the transaction would take for a lock that an operator has to look for.
      { status: 409, details: { retryAfterMs: 5_000 } },
    );
  }
}

async function storeAnswer(
  tx: Queryable,
  keyHash: Buffer,
  { status, answer }: StoredAnswer,
): Promise<void> {
  await tx`
    update purser.idempotency_keys set status = ${status}, answer = ${JSON.stringify(answer)}::text::jsonb
    where key_hash = ${keyHash}`;
}

async function repeat(tx: Queryable, keyHash: Buffer, requestHash: Buffer): Promise<KeyedAnswer> {
  const [kept] = await tx<(StoredAnswer & { isSame: boolean })[]>`
    select status, answer, request_hash = ${requestHash} as "isSame"
    from purser.idempotency_keys where key_hash = ${keyHash}`;
  if (kept === undefined) {
    // Removed by a sweep since it was found taken.
    throw new PurserError(
      'idempotency_key_in_use',
      'the Idempotency-Key expired at this moment; send the request again',
      { status: 409, details: { retryAfterMs: 1_000 } },
    );
  }
  if (!kept.isSame) {
    throw new PurserError(
      'idempotency_key_reused',
      `this Idempotency-Key was used for another request within the last ${keptHours} hours; use a new key for each request`,
      { status: 422 },
    );
  }
  return { status: kept.status, answer: kept.answer, isRepeated: true };
}

const maxRemoved = 5_000;

/** Removes keys whose time is over. Returns how many. */
export async function removeExpiredAnswers(sql: Queryable): Promise<number> {
  const removed = await sql`
    with ${lockTimeout(sql)}, expired as (
      select k.key_hash from purser.idempotency_keys k
      where exists (select from lock_timeout) and k.expires_at < now()
      limit ${maxRemoved} for update skip locked
    )
    delete from purser.idempotency_keys k using expired e where k.key_hash = e.key_hash`;
  return removed.count;
}
