/** All batches, newest first. */
import type { Batch, BatchState } from '../../../../operations/batches/batch.ts';
import type { Access } from '../../../web-env.ts';
import { Page, Time } from '../../layout.tsx';
import { Badge } from '../../parts/badge.tsx';
import type { Tone } from '../../parts/badge.tsx';
import { Live } from '../../parts/live.tsx';
import { Pager, numberText } from '../../parts/pager.tsx';
import { Table } from '../../parts/table.tsx';

export interface ListPageProps {
  readonly access: Access;
  readonly batches: readonly Batch[];
  readonly next: string | undefined;
  readonly isLater: boolean;
}

const tones: Readonly<Record<BatchState, Tone>> = {
  previewed: 'plain',
  running: 'busy',
  stopped: 'warn',
  completed: 'good',
  undoing: 'busy',
  undone: 'plain',
};

export function BatchBadge({ state }: { readonly state: BatchState }) {
  return <Badge tone={tones[state]} text={state} />;
}

export function ListPage({ access, batches, next, isLater }: ListPageProps) {
  return (
    <Page title="Batches" access={access} path="/batches">
      <p>
        A batch is made from the filter of <a href="/dead-letters">dead letters</a> or{' '}
        <a href="/jobs">jobs</a>.
      </p>
      <Live id="batches">
        <Table
          label="Batches"
          caption="Newest first. Times are UTC. A preview that is not started is removed after an hour."
          rows={batches}
          empty="There is no batch."
          columns={[
            {
              title: 'Batch',
              isHead: true,
              cell: ({ batchId }) => <a href={`/batches/${batchId}`}>{batchId}</a>,
            },
            { title: 'Act', cell: ({ act }) => act },
            { title: 'State', cell: ({ state }) => <BatchBadge state={state} /> },
            { title: 'Jobs', isNumber: true, cell: ({ members }) => numberText(members) },
            { title: 'Done', isNumber: true, cell: (batch) => numberText(batch.done) },
            { title: 'Skipped', isNumber: true, cell: ({ skipped }) => numberText(skipped) },
            { title: 'Undone', isNumber: true, cell: ({ undone }) => numberText(undone) },
            { title: 'By', cell: ({ by }) => by },
            { title: 'Reason', cell: ({ reason }) => reason ?? '' },
            { title: 'Made', cell: ({ createdAt }) => <Time at={createdAt} /> },
          ]}
        />
        <Pager path="/batches" fields={{}} cursor="before" next={next} isLater={isLater} />
      </Live>
    </Page>
  );
}
