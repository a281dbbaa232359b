/** The filter of the lists of jobs, failures and dead letters: one set of fields, so that links lead from one to the other. */
import type { Queryable } from '../../../db/connect.ts';
import { assertKnown } from '../../../jobs/pauses.ts';
import type { JobFilter } from '../../../jobs/search/filter.ts';
import { jobStates } from '../../../jobs/states.ts';
import type { FilterField } from '../parts/filter-form.tsx';
import {
  choiceField,
  fingerprintField,
  idField,
  sinceField,
  textField,
  wordsField,
} from '../parts/form.ts';
import type { Since } from '../parts/form.ts';
import type { Fields } from '../parts/pager.tsx';

export const filterShape = () => ({
  id: idField(),
  tenant: textField(200),
  type: textField(63),
  state: choiceField(jobStates),
  code: textField(200),
  text: wordsField(),
  key: textField(500),
  since: sinceField(),
  fingerprint: fingerprintField(),
  group: textField(200),
  plan: textField(200),
  replays: idField(),
});

export interface FilterValues {
  readonly id?: string | undefined;
  readonly tenant?: string | undefined;
  readonly type?: string | undefined;
  readonly state?: JobFilter['state'];
  readonly code?: string | undefined;
  readonly text?: string | undefined;
  readonly key?: string | undefined;
  readonly since?: Since | undefined;
  readonly fingerprint?: string | undefined;
  readonly group?: string | undefined;
  readonly plan?: string | undefined;
  readonly replays?: string | undefined;
}

/** Throws `unknown_tenant` or `unknown_job_type`: an empty list would hide a misspelt name. */
export async function filterOf(sql: Queryable, values: FilterValues): Promise<JobFilter> {
  const { id, tenant, type, state, code, text, key, since, fingerprint, group, plan, replays } =
    values;
  if (tenant !== undefined) await assertKnown(sql, { scope: 'tenant', name: tenant });
  if (type !== undefined) await assertKnown(sql, { scope: 'job_type', name: type });
  return {
    jobId: id,
    tenantId: tenant,
    jobType: type,
    state,
    code,
    text,
    dedupKey: key,
    since: since?.at,
    fingerprint,
    group,
    plan,
    replaysOf: replays,
  };
}

/** As they stand in the address. */
export const fieldsOf = ({ since, ...values }: FilterValues): Fields => ({
  ...values,
  since: since?.text,
});

/** The address fields of a filter. */
export const fieldsOfFound = (found: JobFilter): Fields => ({
  id: found.jobId,
  tenant: found.tenantId,
  type: found.jobType,
  state: found.state,
  text: found.text,
  key: found.dedupKey,
  fingerprint: found.fingerprint,
  code: found.code,
  group: found.group,
  plan: found.plan,
  replays: found.replaysOf,
  since: found.since?.toISOString(),
});

const always: readonly FilterField[] = [
  { name: 'tenant', label: 'Tenant' },
  { name: 'type', label: 'Type' },
  { name: 'code', label: 'Error code', placeholder: 'http_403' },
  { name: 'text', label: 'Words of the error' },
  { name: 'since', label: 'Since', placeholder: '24h, 7d or a date' },
];

const whereGiven: readonly FilterField[] = [
  { name: 'id', label: 'Job id' },
  { name: 'key', label: 'Dedup key' },
  { name: 'fingerprint', label: 'Fingerprint' },
  { name: 'group', label: 'Group' },
  { name: 'plan', label: 'Plan' },
  { name: 'replays', label: 'Replays of' },
];

/** The fields of the form: those that are not used stay out of the way. */
export const formFields = (
  values: Fields,
  more: readonly FilterField[] = [],
): readonly FilterField[] => [
  ...more,
  ...always,
  ...whereGiven.filter(({ name }) => values[name] !== undefined && values[name] !== ''),
];

export const stateField: FilterField = { name: 'state', label: 'State', options: jobStates };
