/**
 * An act on every job of a filter: its preview, then, with the consent of the operator, the start of the batch. `dlq replay`,
 * `dlq discard` and `jobs cancel` do this where they are given a filter or a batch in place of a job's id.
 */
import type { Sql } from '../../../db/connect.ts';
import { exitCodes, PurserError, UsageError } from '../../../errors.ts';
import { isJobId } from '../../../job-id.ts';
import type { JobFilter } from '../../../jobs/search/filter.ts';
import type { JobState } from '../../../jobs/states.ts';
import type { Operator } from '../../../operations/audit.ts';
import { startBatch } from '../../../operations/batches/acts.ts';
import { batchOf } from '../../../operations/batches/batch.ts';
import type { Batch } from '../../../operations/batches/batch.ts';
import { maxPerSecond } from '../../../operations/batches/checks.ts';
import type { BatchAct } from '../../../operations/batches/filter.ts';
import { statesOf } from '../../../operations/batches/filter.ts';
import { maxMembers, previewBatch } from '../../../operations/batches/preview.ts';
import type { BatchPreview } from '../../../operations/batches/preview.ts';
import { commandOf, jobsText, pastOf, previewJson, previewPage } from '../../reports/batch.ts';
import { searchOf, searchOptions } from '../../reports/search-options.ts';
import { withDatabase } from '../../runtime/with-database.ts';
import type { Invocation, OptionSpec } from '../../terminal/command.ts';
import { agrees, canAsk } from '../../terminal/confirm.ts';
import { actOf, reasonedActOf } from '../../terminal/operator-options.ts';
import { wholeNumber } from '../../terminal/parse.ts';

const defaultPace = 50;

/** The filter of a preview. */
export const filterOptions = {
  ...searchOptions,
  state: {
    value: 'STATE',
    help: 'only jobs in this state; dead_letter or cancelled for replay (default dead_letter), a state that has not ended for cancel',
  },
  all: { help: 'every job that the act can be done to; in place of a filter' },
  limit: {
    value: 'N',
    help: `at most so many of these jobs, the oldest ones, e.g. 10 to try a fix (default and maximum ${maxMembers})`,
  },
} satisfies Record<string, OptionSpec>;

/** What starts a batch, beside the filter. */
export const startOptions = {
  batch: { value: 'ID', help: 'start this preview, from: purser dlq preview' },
  pace: {
    value: 'N',
    help: `at most so many jobs per second, of all schedulers together (default ${defaultPace}, at most ${maxPerSecond})`,
  },
  yes: { help: 'start what the filter takes without asking' },
} satisfies Record<string, OptionSpec>;

const isGiven = ({ value, flag }: Invocation, name: string): boolean =>
  value(name) !== undefined || flag(name);

const filterNames = Object.keys(filterOptions);
const batchNames = [...filterNames, ...Object.keys(startOptions)];

/** Whether a filter or a batch is given in place of a job's id. Throws a usage error for both and for neither. */
export function isFiltered(invocation: Invocation): boolean {
  const given = batchNames.filter((name) => isGiven(invocation, name));
  const jobId = invocation.positionals[0];
  if (jobId !== undefined) {
    if (given.length === 0) return false;
    throw new UsageError(`give the id of one job or --${given[0] ?? ''}, not both`);
  }
  const filters = given.filter((name) => filterNames.includes(name));
  if (given.includes('batch')) {
    const [filter] = filters;
    if (filter === undefined) return true;
    throw new UsageError(`--batch names the jobs already; leave out --${filter}`);
  }
  checkAll(filters);
  return true;
}

/** Without a filter everything would be taken: that has to be said. */
function checkAll(given: readonly string[]): void {
  const filters = given.filter((name) => name !== 'limit');
  const others = filters.filter((name) => name !== 'all');
  if (filters.length === 0) {
    throw new UsageError(
      "give a job's id, or say which jobs: --code, --type, --tenant, --fingerprint, --text, --since ..., or --all",
    );
  }
  if (filters.includes('all') && others.length > 0) {
    throw new UsageError(`--all takes every job; leave out it or --${others[0] ?? ''}`);
  }
}

async function filterOf(invocation: Invocation, sql: Sql, act: BatchAct): Promise<JobFilter> {
  return { ...(await searchOf(invocation, sql)), state: stateOf(invocation, act) };
}

const sizeOf = (invocation: Invocation): number =>
  wholeNumber(invocation, 'limit', maxMembers, { min: 1, max: maxMembers });

function stateOf(invocation: Invocation, act: BatchAct): JobState | undefined {
  const given = invocation.value('state');
  const state = statesOf[act].find((known) => known === given);
  if (given === undefined || state !== undefined) return state;
  throw new UsageError(`--state ${given}: ${act} takes ${statesOf[act].join(', ')}`);
}

/** `dlq preview`. */
export async function previewOnly(invocation: Invocation, act: BatchAct): Promise<number> {
  checkAll(filterNames.filter((name) => isGiven(invocation, name)));
  const { operator, reason } = actOf(invocation);
  const limit = sizeOf(invocation);
  return withDatabase(invocation.config(), async ({ database: { system: sql } }) => {
    const filter = await filterOf(invocation, sql, act);
    const preview = await previewBatch(sql, operator, { act, filter, limit, reason });
    if (invocation.flag('json')) invocation.print(JSON.stringify(previewJson(preview)));
    else {
      invocation.print(previewPage(preview));
      invocation.print(howToStart(preview));
    }
    return exitCodes.ok;
  });
}

const howToStart = ({ act, batchId, jobs, expiresAt }: BatchPreview): string =>
  jobs === 0
    ? 'nothing was changed; no job is taken by this filter'
    : `nothing was changed; to start it until ${expiresAt.toISOString()}: ${commandOf[act]} --batch ${batchId} --reason TEXT`;

/** `dlq replay`, `dlq discard` and `jobs cancel` with a filter or a batch. */
export async function runFiltered(invocation: Invocation, act: BatchAct): Promise<number> {
  if (invocation.value('reason') === undefined) {
    throw new UsageError('--reason TEXT is missing (reason to record)');
  }
  const { operator, reason } = reasonedActOf(invocation);
  const perSecond = wholeNumber(invocation, 'pace', defaultPace, { min: 1, max: maxPerSecond });
  const given = invocation.value('batch');
  return withDatabase(invocation.config(), async ({ database: { system: sql } }) => {
    const preview =
      given === undefined
        ? await shownPreview(invocation, sql, { operator, act, reason })
        : undefined;
    if (preview !== undefined && !(await mayStart(invocation, preview, perSecond))) {
      return exitCodes.ok;
    }
    const batchId = preview?.batchId ?? (await ofAct(sql, given ?? '', act));
    const batch = await startBatch(sql, operator, { batchId, perSecond, reason });
    sayStarted(invocation, preview, batch);
    return exitCodes.ok;
  });
}

async function shownPreview(
  invocation: Invocation,
  sql: Sql,
  {
    operator,
    act,
    reason,
  }: { readonly operator: Operator; readonly act: BatchAct; readonly reason: string },
): Promise<BatchPreview> {
  const limit = sizeOf(invocation);
  const filter = await filterOf(invocation, sql, act);
  const preview = await previewBatch(sql, operator, { act, filter, limit, reason });
  if (!invocation.flag('json')) invocation.print(previewPage(preview));
  return preview;
}

async function mayStart(
  invocation: Invocation,
  preview: BatchPreview,
  perSecond: number,
): Promise<boolean> {
  const { act, jobs } = preview;
  const isJson = invocation.flag('json');
  const isAgreed =
    jobs > 0 &&
    (invocation.flag('yes') ||
      (!isJson &&
        canAsk() &&
        (await agrees(`${act} ${jobsText(jobs)} at ${perSecond} per second?`))));
  if (isAgreed) return true;
  invocation.print(
    isJson
      ? JSON.stringify({ preview: previewJson(preview), batch: null })
      : `${howToStart(preview)}${jobs === 0 || canAsk() ? '' : ', or repeat the command with --yes'}`,
  );
  return false;
}

async function ofAct(sql: Sql, batchId: string, act: BatchAct): Promise<string> {
  if (!isJobId(batchId)) {
    throw new UsageError(`--batch ${batchId}: use an id, as purser dlq batches lists it`);
  }
  const batch = await batchOf(sql, batchId);
  if (batch.act === act) return batchId;
  throw new PurserError(
    'batch_act',
    `batch ${batchId} was previewed for ${batch.act}; start it with: ${commandOf[batch.act]} --batch ${batchId}`,
    { status: 409 },
  );
}

function sayStarted(invocation: Invocation, preview: BatchPreview | undefined, batch: Batch): void {
  const { batchId, act, members, perSecond } = batch;
  if (invocation.flag('json')) {
    const shown = preview === undefined ? null : previewJson(preview);
    invocation.print(JSON.stringify({ preview: shown, batch }));
    return;
  }
  invocation.print(
    `batch ${batchId} has started: ${jobsText(members)} ${members === 1 ? 'is' : 'are'} ${pastOf[act]} by the schedulers, at most ${perSecond ?? 0} per ` +
      `second; progress: purser dlq batches ${batchId}; to halt it: purser dlq batches stop ${batchId} --reason TEXT`,
  );
}
