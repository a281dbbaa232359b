/**
 * Enqueues jobs from your own code, typed by the handler: the payload is checked against its schema before anything
 * is written, and the job exists if and only if your transaction commits.
 */
import type { StandardSchemaV1 } from '@standard-schema/spec';
import type { EncryptionKeyManager } from '../crypto/keyring.ts';
import { keysOf } from '../crypto/open-keyring.ts';
import { enqueue as enqueueByType, enqueueMany as enqueueManyByType } from '../jobs/enqueue.ts';
import type { Connection } from '../jobs/connection.ts';
import type { Enqueued } from '../jobs/enqueue.ts';
import { serialise } from '../jobs/request.ts';
import type { EnqueueRequest } from '../jobs/request.ts';
import { messageOf, PurserError } from '../errors.ts';
import type { Handler } from './define.ts';
import { parsePayload } from './define.ts';
import { payloadSealer } from './seal.ts';
import type { SealPayload } from './seal.ts';
import { unservedWarning } from '../jobs/unserved/warning.ts';
import { listSecretPaths } from '../jobs/key-versions.ts';

// oxlint-disable-next-line typescript/no-generated-empty-object-type, typescript/no-empty-object-type
type EmptyObject = {};

/** `payload` may be left out where the schema takes `{}`. */
type PayloadOf<S extends StandardSchemaV1> =
  EmptyObject extends StandardSchemaV1.InferInput<S>
    ? { readonly payload?: StandardSchemaV1.InferInput<S> }
    : { readonly payload: StandardSchemaV1.InferInput<S> };

export type EnqueueOptions = Omit<EnqueueRequest, 'jobType' | 'payload'>;
export type EnqueueManyOptions = Omit<EnqueueOptions, 'dedupWindowMs' | 'onDuplicate'>;

export interface EnqueueKeys {
  /** Encrypts the payload fields that the handler's schema marks as secret: `await openKeyring()`. */
  readonly keyring?: EncryptionKeyManager;
}

/**
 * Enqueues one job of `handler`, or of a job type by its name (then the payload is checked when the job
 * runs). Throws `invalid_payload` naming the field, `unknown_tenant`, `unknown_job_type`, `payload_too_large`
 * (1 MiB), `invalid_request`, or with `onDuplicate: 'reject'` `duplicate_job`; for secret fields
 * `encryption_key_missing` without a keyring, or `encryption_keys_differ`. On a pool the answer has a `warning` where no
 * live worker runs the type; in a transaction of yours nobody asks.
 */
export async function enqueue<S extends StandardSchemaV1>(
  connection: Connection,
  handler: Handler<S> | string,
  request: EnqueueOptions & PayloadOf<S>,
  keys: EnqueueKeys = {},
): Promise<Enqueued> {
  const seal = await sealerFor(connection, handler, keys);
  const checked = await checkedRequest(handler, request, request.payload, seal);
  const [enqueued, warning] = await Promise.all([
    enqueueByType(connection, checked),
    unservedWarning(connection, checked.jobType),
  ]);
  return warning === undefined ? enqueued : { ...enqueued, warning };
}

/** Enqueues up to 10,000 jobs of one handler or type in one statement, all or nothing. */
export async function enqueueMany<S extends StandardSchemaV1>(
  connection: Connection,
  handler: Handler<S> | string,
  requests: readonly (EnqueueManyOptions & PayloadOf<S>)[],
  keys: EnqueueKeys = {},
): Promise<Enqueued[]> {
  const seal = await sealerFor(connection, handler, keys);
  const checked = await Promise.all(
    requests.map((request) => checkedRequest(handler, request, request.payload, seal)),
  );
  const [enqueued, warning] = await Promise.all([
    enqueueManyByType(connection, checked),
    unservedWarning(connection, typeof handler === 'string' ? handler : handler.type),
  ]);
  return warning === undefined ? enqueued : enqueued.map((one) => ({ ...one, warning }));
}

type Seal = (place: Parameters<SealPayload>[0], payload: object) => Promise<object>;

/** For a type given by name, the secret fields are read from the database, which refuses them unencrypted. */
async function sealerFor(
  connection: Connection,
  handler: Handler | string,
  { keyring }: EnqueueKeys,
): Promise<Seal> {
  const seal = payloadSealer(connection, keyring === undefined ? keysOf(undefined) : () => keyring);
  const named = typeof handler === 'string';
  if (named && keyring === undefined) return (_place, payload) => Promise.resolve(payload);
  const paths = named ? await listSecretPaths(connection, handler) : handler.secretPaths;
  return (place, payload) => seal(place, payload, paths);
}

/** The payload is stored as given (secret fields encrypted); the schema parses it again when the job runs. */
async function checkedRequest(
  handler: Handler | string,
  options: EnqueueOptions,
  payload: unknown = {},
  seal: Seal,
): Promise<EnqueueRequest> {
  const jobType = typeof handler === 'string' ? handler : handler.type;
  if (typeof handler !== 'string') await parsePayload(handler, payload);
  if (payload === null || typeof payload !== 'object') {
    throw new PurserError('invalid_payload', `payload of ${jobType}: it must be a JSON object`, {
      details: { class: 'fatal' },
    });
  }
  // Before secret fields are encrypted, so that those are checked too.
  const stored: unknown = JSON.parse(serialise(payload));
  if (typeof handler !== 'string') await checkAsStored(handler, stored);
  const { tenantId } = options;
  return { ...options, jobType, payload: await seal({ tenantId, jobType }, payload) };
}

/** The job reads the payload from JSON, where a Date is a string; what the schema would refuse then is refused now. */
async function checkAsStored(handler: Handler, stored: unknown): Promise<void> {
  await parsePayload(handler, stored).catch((error: unknown) => {
    throw new PurserError(
      'invalid_payload',
      `${messageOf(error)}. The payload fits as given, but not as the JSON that is stored, where a Date is a ` +
        'string: let the schema accept that too, e.g. z.coerce.date()',
      { cause: error, details: { class: 'fatal' } },
    );
  });
}
