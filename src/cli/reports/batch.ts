/** Batches and their previews as text. */
import { formatUsd } from '../../budget/money.ts';
import type { Batch, BatchDetails } from '../../operations/batches/batch.ts';
import type { BatchAct } from '../../operations/batches/filter.ts';
import { fieldsOf } from '../../operations/batches/filter.ts';
import type { BatchPreview } from '../../operations/batches/preview.ts';
import { maxMembers } from '../../operations/batches/preview.ts';
import { formatTable } from '../terminal/table.ts';
import { fieldLines } from './field-lines.ts';

const number = (count: number): string => count.toLocaleString('en-US');

export const jobsText = (count: number): string => `${number(count)} job${count === 1 ? '' : 's'}`;

/** `replayed`, of the act's jobs. */
export const pastOf: Readonly<Record<BatchAct, string>> = {
  replay: 'replayed',
  discard: 'discarded',
  cancel: 'cancelled',
};

/** The command that starts, or follows, a batch of this act. */
export const commandOf: Readonly<Record<BatchAct, string>> = {
  replay: 'purser dlq replay',
  discard: 'purser dlq discard',
  cancel: 'purser jobs cancel',
};

/** As JSON: amounts as exact decimals. */
export const previewJson = ({ worstCaseNanoUsd, ...preview }: BatchPreview) => ({
  ...preview,
  worstCaseUsd: formatUsd(worstCaseNanoUsd),
});

export function previewPage(preview: BatchPreview): string {
  const { act, jobs, isCut, tenants, topTenants, oldestAt, blocked, withoutHold } = preview;
  const cut = isCut
    ? ` (the oldest; the filter takes more${jobs < maxMembers ? '' : `, and a batch has ${number(maxMembers)} at most, so preview again after it`})`
    : '';
  const top = topTenants.map(({ tenantId, jobs: of }) => `${tenantId} ${number(of)}`).join(', ');
  const more =
    tenants > topTenants.length ? ` and ${number(tenants - topTenants.length)} more` : '';
  const cost: [string, string][] =
    act === 'replay'
      ? [
          [
            'worst case',
            `$${formatUsd(preview.worstCaseNanoUsd)} of LLM calls, one attempt each, by the last holds; no hold is known of ${jobsText(withoutHold)}`,
          ],
          [
            'would wait',
            `for budget ${number(blocked.budget)}, for a full limit ${number(blocked.cap)}, for a pause ${number(blocked.pause)}`,
          ],
        ]
      : [];
  const lines = fieldLines([
    ['batch', preview.batchId],
    ['act', act],
    ['jobs', `${number(jobs)}${cut}`],
    ['tenants', jobs === 0 ? '0' : `${number(tenants)}: ${top}${more}`],
    [act === 'cancel' ? 'oldest made' : 'oldest ended', oldestAt?.toISOString() ?? '-'],
    ...cost,
  ]);
  return preview.blockedGroups.length === 0 ? lines : `${lines}\n\n${blockedTable(preview)}`;
}

const blockedTable = ({ blockedGroups }: BatchPreview): string =>
  formatTable(
    ['would wait: tenant', 'type', 'jobs', 'budget', 'limit', 'pause'],
    blockedGroups.map(({ tenantId, jobType, jobs, budget, cap, pause }) => [
      tenantId,
      jobType,
      jobs,
      budget,
      cap,
      pause,
    ]),
  );

/** `type=send_report code=http_500`, or `everything`. */
function filterText({ filter }: Pick<Batch, 'filter'>): string {
  const parts = fieldsOf(filter).map(([name, value]) => `${name}=${[value].flat().join(',')}`);
  return parts.length === 0 ? 'everything' : parts.join(' ');
}

const percent = ({ members, waiting }: Batch): string =>
  members === 0 ? '-' : `${Math.floor((100 * (members - waiting)) / members)} %`;

export const batchTable = (batches: readonly Batch[]): string =>
  formatTable(
    [
      'batch',
      'act',
      'state',
      'jobs',
      'done',
      'skipped',
      'undone',
      'waiting',
      'met',
      'by',
      'created',
      'filter',
    ],
    batches.map((batch) => [
      batch.batchId,
      batch.act,
      batch.state,
      batch.members,
      batch.done,
      batch.skipped,
      batch.undone,
      batch.waiting,
      percent(batch),
      batch.by,
      batch.createdAt,
      filterText(batch),
    ]),
    60,
  );

const whyTexts: Readonly<Record<string, string>> = {
  replayed: 'skipped: replayed before',
  discarded: 'skipped: discarded before',
  undone_replay: 'skipped: a replay that was undone',
  not_ended: 'skipped: has not ended, or was completed',
  ended: 'skipped: had ended',
  gone: 'skipped: deleted',
  requested: 'running: its worker was asked to stop it',
  begun: 'not undone: its new job has begun',
};

const whyText = (why: string): string => whyTexts[why] ?? `skipped: ${why}`;

export function batchPage(batch: BatchDetails): string {
  const { state, perSecond, reason, reasons } = batch;
  const lines = fieldLines([
    ['batch', batch.batchId],
    ['act', `${batch.act} of ${filterText(batch)}`],
    ['state', perSecond === null ? state : `${state}, at most ${perSecond} per second`],
    ['jobs', `${number(batch.members)}${batch.isCut ? ' (the filter took more)' : ''}`],
    ['done', number(batch.done)],
    ['skipped', number(batch.skipped)],
    ['undone', number(batch.undone)],
    ['waiting', number(batch.waiting)],
    ['by', `${batch.by}${reason === null ? '' : `: ${reason}`}`],
    ['created', batch.createdAt.toISOString()],
    ...(state === 'previewed' ? [['expires', batch.expiresAt.toISOString()] as const] : []),
    ['started', batch.startedAt?.toISOString() ?? '-'],
    ['ended', batch.endedAt?.toISOString() ?? '-'],
  ]);
  if (reasons.length === 0) return lines;
  const table = formatTable(
    ['why', 'jobs'],
    reasons.map(({ why, members }) => [whyText(why), members]),
  );
  return `${lines}\n\n${table}`;
}
