/** One batch: before it starts what it would do, then how far it is, and the ways to start, stop, resume and undo it. */
import { formatUsd } from '../../../../budget/money.ts';
import type { BatchDetails } from '../../../../operations/batches/batch.ts';
import { maxPerSecond } from '../../../../operations/batches/checks.ts';
import type { BatchFigures } from '../../../../operations/batches/figures.ts';
import { hasRole } from '../../../../operations/operators/roles.ts';
import type { Access } from '../../../web-env.ts';
import { Page, Time } from '../../layout.tsx';
import { ActForm } from '../../parts/act-form.tsx';
import { Live } from '../../parts/live.tsx';
import { Facts, Notice } from '../../parts/notice.tsx';
import { address, numberText } from '../../parts/pager.tsx';
import { Table } from '../../parts/table.tsx';
import { Usd } from '../../parts/usd.tsx';
import { fieldsOfFound } from '../filter.ts';
import { BatchBadge } from './list-page.tsx';
import { batchOutcomeTexts } from './outcome.ts';
import type { BatchOutcome } from './outcome.ts';

export interface BatchPageProps {
  readonly access: Access;
  readonly batch: BatchDetails;
  /** Of a preview. */
  readonly figures: BatchFigures | undefined;
  readonly done: BatchOutcome | undefined;
}

const usualPace = 50;

function filterText({ filter }: BatchDetails): string {
  const parts = Object.entries(filter).flatMap(([name, value]) => {
    const given: unknown = value;
    if (given instanceof Date) return [`${name} ${given.toISOString()}`];
    return typeof given === 'string' || typeof given === 'number' ? [`${name} ${given}`] : [];
  });
  return parts.length === 0 ? 'all' : parts.join(', ');
}

function BatchFacts({ batch }: { readonly batch: BatchDetails }) {
  return (
    <Facts
      of={[
        ['State', <BatchBadge state={batch.state} />],
        ['Act', batch.act],
        ['Filter', filterText(batch)],
        [
          'Jobs',
          `${numberText(batch.members)}${batch.isCut ? ', the oldest; the filter takes more' : ''}`,
        ],
        ['Pace', batch.perSecond === null ? null : `${batch.perSecond} a second`],
        ['By', batch.by],
        ['Reason', batch.reason],
        ['Made', <Time at={batch.createdAt} />],
        ['Started', batch.startedAt === null ? null : <Time at={batch.startedAt} />],
        ['Ended', batch.endedAt === null ? null : <Time at={batch.endedAt} />],
        ['Expires', batch.state === 'previewed' ? <Time at={batch.expiresAt} /> : null],
      ]}
    />
  );
}

function Progress({ batch }: { readonly batch: BatchDetails }) {
  if (batch.state === 'previewed') return null;
  const { members, waiting, done, skipped, undone } = batch;
  return (
    <>
      <h2>Progress</h2>
      <p>
        <progress value={members - waiting} max={Math.max(1, members)} aria-label="Progress" />{' '}
        {numberText(done)} done, {numberText(skipped)} skipped, {numberText(undone)} undone,{' '}
        {numberText(waiting)} not touched
      </p>
      <Table
        label="Why jobs were passed over"
        rows={batch.reasons}
        empty="No job was passed over."
        columns={[
          { title: 'Why', isHead: true, cell: ({ why }) => why.replaceAll('_', ' ') },
          { title: 'Jobs', isNumber: true, cell: (row) => numberText(row.members) },
        ]}
      />
    </>
  );
}

function Figures({ batch, figures }: { batch: BatchDetails; figures: BatchFigures }) {
  const { blocked, topTenants, blockedGroups } = figures;
  const isReplay = batch.act === 'replay';
  return (
    <>
      <h2>What it would do</h2>
      <p class="quiet">As counted when the preview was made.</p>
      <Facts
        of={[
          ['Tenants', numberText(figures.tenants)],
          ['Oldest', figures.oldestAt === null ? null : <Time at={figures.oldestAt} />],
          [
            'LLM cost at most',
            isReplay ? (
              <>
                <Usd usd={formatUsd(figures.worstCaseNanoUsd)} />
                {figures.withoutHold === 0 ? null : (
                  <span class="quiet">
                    {' '}
                    and that of {numberText(figures.withoutHold)} jobs that made no call before
                  </span>
                )}
              </>
            ) : null,
          ],
          ['Blocked by budget', isReplay ? numberText(blocked.budget) : null],
          ['Blocked by a limit', isReplay ? numberText(blocked.cap) : null],
          ['Paused', isReplay ? numberText(blocked.pause) : null],
        ]}
      />
      <Table
        label="Tenants with most jobs"
        caption="Tenants with most jobs."
        rows={topTenants}
        empty="The filter takes no job."
        columns={[
          {
            title: 'Tenant',
            isHead: true,
            cell: ({ tenantId }) => (
              <a href={address('/dead-letters', { tenant: tenantId })}>{tenantId}</a>
            ),
          },
          { title: 'Jobs', isNumber: true, cell: ({ jobs }) => numberText(jobs) },
        ]}
      />
      {blockedGroups.length === 0 ? null : (
        <Table
          label="What would not run now"
          caption="What would not run now: it waits until it can."
          rows={blockedGroups}
          empty=""
          columns={[
            { title: 'Tenant', isHead: true, cell: ({ tenantId }) => tenantId },
            { title: 'Type', cell: ({ jobType }) => jobType },
            { title: 'Jobs', isNumber: true, cell: ({ jobs }) => numberText(jobs) },
            { title: 'Budget', isNumber: true, cell: ({ budget }) => numberText(budget) },
            { title: 'Limit', isNumber: true, cell: ({ cap }) => numberText(cap) },
            { title: 'Paused', isNumber: true, cell: ({ pause }) => numberText(pause) },
          ]}
        />
      )}
    </>
  );
}

function Pace({ value }: { readonly value: number }) {
  return (
    <label>
      Jobs a second
      <input name="perSecond" type="number" min="1" max={maxPerSecond} value={value} required />
    </label>
  );
}

function Acts({ access, batch }: { readonly access: Access; readonly batch: BatchDetails }) {
  if (!hasRole(access.role, 'operator')) return null;
  const { batchId, state, act, members, perSecond } = batch;
  const of = `batch ${batchId}`;
  const path = `/batches/${batchId}`;
  const canUndo = ['running', 'stopped', 'completed'].includes(state);
  if (state === 'undoing' || state === 'undone') return null;
  if (state === 'previewed' && members === 0) return <p>There is nothing to start.</p>;
  return (
    <section class="acts" aria-label="Acts">
      {state === 'previewed' ? (
        <ActForm
          access={access}
          action={`${path}/start`}
          label="Start"
          of={of}
          isDanger={act !== 'replay'}
          question={`${act} ${numberText(members)} jobs?`}
        >
          <Pace value={usualPace} />
        </ActForm>
      ) : null}
      {state === 'running' ? (
        <ActForm access={access} action={`${path}/stop`} label="Stop" of={of} />
      ) : null}
      {state === 'stopped' ? (
        <ActForm access={access} action={`${path}/resume`} label="Resume" of={of}>
          <Pace value={perSecond ?? usualPace} />
        </ActForm>
      ) : null}
      {canUndo ? (
        <ActForm
          access={access}
          action={`${path}/undo`}
          label="Undo what has not begun"
          of={`of ${of}`}
          isDanger
          question="Take back what has not begun? The batch does not go on after that."
        />
      ) : null}
    </section>
  );
}

export function BatchPage({ access, batch, figures, done }: BatchPageProps) {
  const list = batch.act === 'cancel' ? '/jobs' : '/dead-letters';
  const { state: _state, ...fields } = fieldsOfFound(batch.filter);
  return (
    <Page title={`Batch ${batch.batchId}`} access={access} path="/batches">
      {done === undefined ? null : <Notice tone="good">{batchOutcomeTexts[done]}</Notice>}
      <Live id="batch">
        <BatchFacts batch={batch} />
        <Progress batch={batch} />
        {figures === undefined ? null : <Figures batch={batch} figures={figures} />}
      </Live>
      <Live id="acts">
        <Acts access={access} batch={batch} />
      </Live>
      <p>
        <a href={address(list, fields)}>What the filter takes now</a>,{' '}
        <a href="/batches">all batches</a>
      </p>
    </Page>
  );
}
