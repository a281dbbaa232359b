/** The filter of a batch: checked for every door, stored with the batch, and named on the record without its values. */
import type { Queryable } from '../../db/connect.ts';
import { PurserError } from '../../errors.ts';
import { isJobId } from '../../job-id.ts';
import { assertKnown } from '../../jobs/pauses.ts';
import type { JobFilter } from '../../jobs/search/filter.ts';
import { jobStates, terminalStates } from '../../jobs/states.ts';
import type { JobState } from '../../jobs/states.ts';
import { isStorable, optionFault } from '../../names.ts';

export type BatchAct = 'replay' | 'discard' | 'cancel';

export const batchActs: readonly BatchAct[] = ['replay', 'discard', 'cancel'];

/** The states that each act takes; without a state the filter takes the first, and for cancel all of them. */
export const statesOf: Readonly<Record<BatchAct, readonly JobState[]>> = {
  replay: ['dead_letter', 'cancelled'],
  discard: ['dead_letter'],
  cancel: jobStates.filter((state) => !terminalStates.includes(state)),
};

const texts = ['tenantId', 'jobType', 'code', 'fingerprint', 'text', 'plan', 'group', 'dedupKey'];
const ids = ['jobId', 'replaysOf'];
const times = ['since', 'until'];
const fields = [...texts, ...ids, ...times, 'state', 'attempt'] as const;
const maxTextLength = 1_000;

const refuse = (fault: string): never => {
  throw new PurserError('invalid_filter', fault, { status: 400 });
};

/** Throws `invalid_filter`, `unknown_tenant` or `unknown_job_type`. */
export async function checkFilter(sql: Queryable, act: BatchAct, filter: JobFilter): Promise<void> {
  if (!batchActs.includes(act)) refuse(`the act must be one of ${batchActs.join(', ')}`);
  const fault = optionFault('the filter', filter, fields);
  if (fault !== undefined) refuse(fault);
  for (const [name, value] of Object.entries(filter)) {
    if (value !== undefined) checkField(name, value);
  }
  const { state, tenantId, jobType } = filter;
  if (state !== undefined && !statesOf[act].includes(state)) {
    refuse(`${act} takes jobs in state ${statesOf[act].join(' or ')}, not ${state}`);
  }
  if (tenantId !== undefined) await assertKnown(sql, { scope: 'tenant', name: tenantId });
  if (jobType !== undefined) await assertKnown(sql, { scope: 'job_type', name: jobType });
}

function checkField(name: string, value: unknown): void {
  if (times.includes(name)) {
    if (!(value instanceof Date) || Number.isNaN(value.getTime())) refuse(`${name} must be a date`);
  } else if (name === 'attempt') {
    if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value > 1_000_000) {
      refuse('attempt must be a whole number from 0 to 1000000');
    }
  } else if (typeof value !== 'string' || value === '' || value.length > maxTextLength) {
    refuse(`${name} must be a text of 1 to ${maxTextLength} characters`);
  } else if (!isStorable(value)) {
    refuse(`${name} contains a NUL character or half of a surrogate pair; remove it`);
  } else if (ids.includes(name) && !isJobId(value)) {
    refuse(`${name} must be a job id`);
  }
}

/** As `purser.batches.filter` holds it, in JSON. */
export type StoredFilter = Omit<JobFilter, 'since' | 'until'> & {
  readonly since?: string;
  readonly until?: string;
};

export function storedFilter({ since, until, ...filter }: JobFilter): StoredFilter {
  return {
    ...filter,
    ...(since === undefined ? {} : { since: since.toISOString() }),
    ...(until === undefined ? {} : { until: until.toISOString() }),
  };
}

export function readFilter({ since, until, ...filter }: StoredFilter): JobFilter {
  return {
    ...filter,
    ...(since === undefined ? {} : { since: new Date(since) }),
    ...(until === undefined ? {} : { until: new Date(until) }),
  };
}

/** The fields that are given, by name, without the limits of who asks. */
export const fieldsOf = (filter: JobFilter): readonly (readonly [string, string | number])[] =>
  Object.entries(storedFilter(filter)).flatMap(([name, value]) =>
    typeof value === 'string' || typeof value === 'number' ? [[name, value] as const] : [],
  );

/** Of these the record keeps only that they were given: their values may be of payloads or name people. */
const withheld: readonly string[] = ['text', 'group', 'dedupKey'];

export function recordedFilter(filter: JobFilter): Readonly<Record<string, unknown>> {
  return Object.fromEntries(
    fieldsOf(filter).map(([name, value]) => [name, withheld.includes(name) ? true : value]),
  );
}
