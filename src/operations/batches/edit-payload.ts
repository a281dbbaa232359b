/** Replays one dead letter with another payload, which its handler's schema has checked. */
import type { Sql, Tx } from '../../db/connect.ts';
import { restoreHidden } from '../../crypto/secrets/fields.ts';
import { codeOf, messageOf, PurserError } from '../../errors.ts';
import { isJobId } from '../../job-id.ts';
import { notADeadLetter, replayedBy } from '../../jobs/dead-letters.ts';
import { asStoredPayload, serialise } from '../../jobs/request.ts';
import { performAct } from '../audit.ts';
import type { Operator } from '../audit.ts';
import { checkReason } from './checks.ts';

/**
 * Checks a payload by the handler's schema and returns it as it is stored, with its secret fields encrypted; those that
 * are encrypted already are kept. Throws `invalid_payload` naming the field.
 */
export type PreparePayload = (
  place: { readonly tenantId: string; readonly jobType: string },
  payload: object,
) => Promise<object>;

export interface PayloadEdit {
  /** A dead letter, or a cancelled job. */
  readonly jobId: string;
  /** The whole payload. Of a secret field: a new value, or `[secret]`, as it is shown, for the one that it has. */
  readonly payload: unknown;
  readonly reason: string;
  /** undefined: the type's handler is not loaded here. */
  readonly schemaOf: (jobType: string) => Promise<PreparePayload | undefined>;
}

export interface EditedReplay {
  readonly jobId: string;
  /** Names of the fields, of the first level, that differ from the old payload. */
  readonly changedFields: readonly string[];
}

/**
 * The original keeps its payload. The record has the names of the fields that were changed, no values. Throws
 * `unknown_payload_schema`, `invalid_payload`, `payload_too_large`, `payload_unchanged`, `already_replayed`,
 * `not_a_dead_letter`, `invalid_reason`.
 */
export async function editPayload(
  sql: Sql | Tx,
  operator: Operator,
  { jobId, payload, reason, schemaOf }: PayloadEdit,
): Promise<EditedReplay> {
  checkReason(reason);
  if (!isJobId(jobId)) {
    throw new PurserError('unknown_job', 'a job id is a whole number', { status: 404 });
  }
  const given = objectOf(payload);
  return performAct(sql, operator, async (tx) => {
    const job = await readJob(tx, jobId);
    if (job === undefined) throw await notADeadLetter(tx, jobId);
    const { tenantId, jobType } = job;
    const prepare = await schemaOf(jobType);
    if (prepare === undefined) throw unknownSchema(jobType);
    const edited = restoreHidden(given, job.payload);
    const changedFields = changed(job.payload, edited);
    if (changedFields.length === 0) {
      throw new PurserError(
        'payload_unchanged',
        `this is the payload that job ${jobId} has; to run it again as it is: purser dlq replay ${jobId}`,
        { status: 409 },
      );
    }
    const stored = await checked(() => prepare({ tenantId, jobType }, edited));
    const newJobId = await replayWith(tx, { jobId, payload: serialise(stored), operator });
    return {
      result: { jobId: newJobId, changedFields },
      act: {
        act: 'replay_edited',
        tenantId,
        jobType,
        target: { jobId },
        reason,
        jobIds: [jobId, newJobId],
        before: { replayedBy: null },
        after: { replayedBy: newJobId, changedFields },
      },
    };
  });
}

const invalid = (text: string, cause?: unknown): PurserError =>
  new PurserError('invalid_payload', text, { cause, status: 400 });

function objectOf(payload: unknown): object {
  if (payload === null || typeof payload !== 'object' || Array.isArray(payload)) {
    throw invalid('the payload must be a JSON object, e.g. {"periodDays": 30}');
  }
  return asStoredPayload(payload);
}

async function checked(prepare: () => Promise<object>): Promise<object> {
  try {
    return await prepare();
  } catch (error) {
    throw codeOf(error) === 'invalid_payload' ? invalid(messageOf(error), error) : error;
  }
}

function unknownSchema(jobType: string): PurserError {
  return new PurserError(
    'unknown_payload_schema',
    `the payload of ${jobType} cannot be checked here, because its handler is not loaded; set PURSER_HANDLERS to the ` +
      'module that the workers run',
    { status: 409 },
  );
}

interface OldJob {
  readonly tenantId: string;
  readonly jobType: string;
  readonly payload: object;
}

async function readJob(tx: Tx, jobId: string): Promise<OldJob | undefined> {
  const [job] = await tx<OldJob[]>`
    select tenant_id as "tenantId", job_type as "jobType", payload from public.jobs
    where id = ${jobId} and outcome in ('dead_letter', 'cancelled')`;
  return job;
}

function changed(before: object, after: object): string[] {
  const [old, now] = [new Map(Object.entries(before)), new Map(Object.entries(after))];
  const names = new Set([...old.keys(), ...now.keys()]);
  return [...names]
    .filter((name) => textOf(old.get(name)) !== textOf(now.get(name)))
    .toSorted()
    .slice(0, maxNamed);
}

const maxNamed = 100;

/** Equal for equal values: jsonb keeps no order of keys. */
function textOf(value: unknown): string | undefined {
  return JSON.stringify(value, (_key, part: unknown) =>
    part !== null && typeof part === 'object' && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).toSorted(([a], [b]) => (a < b ? -1 : 1)))
      : part,
  );
}

async function replayWith(
  tx: Tx,
  {
    jobId,
    payload,
    operator,
  }: { readonly jobId: string; readonly payload: string; readonly operator: Operator },
): Promise<string> {
  const origin = { by: operator.name, source: operator.door, edited: true };
  const [made] = await tx<{ id: string | null }[]>`
    select new_job_id as id from purser.replay_job(${jobId}, ${JSON.stringify(origin)}::text::jsonb, ${payload}::text::jsonb)`;
  if (typeof made?.id === 'string') return made.id;
  const earlier = await replayedBy(tx, jobId);
  if (earlier === undefined) throw await notADeadLetter(tx, jobId);
  throw new PurserError(
    'already_replayed',
    `dead letter ${jobId} was already replayed, by job ${earlier}; its payload is not edited any more`,
    { status: 409, details: { jobId: earlier } },
  );
}
