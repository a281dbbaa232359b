/** `purser dlq batches [ID]`, and `dlq batches stop|resume|undo ID`: batches over a filter, of every act. */
import { exitCodes } from '../../../errors.ts';
import { resumeBatch, stopBatch, undoBatch } from '../../../operations/batches/acts.ts';
import { batchOf, listBatches } from '../../../operations/batches/batch.ts';
import type { Batch } from '../../../operations/batches/batch.ts';
import { maxPerSecond } from '../../../operations/batches/checks.ts';
import { batchPage, batchTable, jobsText } from '../../reports/batch.ts';
import { withDatabase } from '../../runtime/with-database.ts';
import { jsonOption } from '../../terminal/command.ts';
import type { Command, Invocation, PositionalSpec } from '../../terminal/command.ts';
import { limitOf, limitOption } from '../../terminal/cut-list.ts';
import { byOption, reasonedActOf, reasonOption } from '../../terminal/operator-options.ts';
import { wholeNumber } from '../../terminal/parse.ts';

async function show(invocation: Invocation): Promise<number> {
  const [batchId] = invocation.positionals;
  const limit = limitOf(invocation);
  const isJson = invocation.flag('json');
  return withDatabase(invocation.config(), async ({ database: { system: sql } }) => {
    if (batchId !== undefined) {
      const batch = await batchOf(sql, batchId);
      invocation.print(isJson ? JSON.stringify(batch) : batchPage(batch));
      return exitCodes.ok;
    }
    const found = await listBatches(sql, { limit: limit + 1 });
    const shown = found.slice(0, limit);
    if (isJson) invocation.print(JSON.stringify(shown));
    else invocation.print(shown.length === 0 ? 'there is no batch' : batchTable(shown));
    if (found.length > limit) invocation.note(`the newest ${limit} batches; more with --limit`);
    return exitCodes.ok;
  });
}

type Change = (invocation: Invocation, order: Order) => Promise<Batch>;
interface Order {
  readonly sql: Parameters<typeof stopBatch>[0];
  readonly operator: Parameters<typeof stopBatch>[1];
  readonly batchId: string;
  readonly reason: string;
}

const changeBy =
  (change: Change, says: (batch: Batch) => string) =>
  async (invocation: Invocation): Promise<number> => {
    const batchId = invocation.positionals[0] ?? '';
    const { operator, reason } = reasonedActOf(invocation);
    return withDatabase(invocation.config(), async ({ database: { system: sql } }) => {
      const batch = await change(invocation, { sql, operator, batchId, reason });
      invocation.print(invocation.flag('json') ? JSON.stringify(batch) : says(batch));
      return exitCodes.ok;
    });
  };

const stop = changeBy(
  (_invocation, { sql, operator, ...order }) => stopBatch(sql, operator, order),
  ({ batchId, waiting }) =>
    `batch ${batchId} is stopped with ${jobsText(waiting)} left; to go on: purser dlq batches resume ${batchId} --reason TEXT`,
);

const resume = changeBy(
  (invocation, { sql, operator, ...order }) => {
    const pace = wholeNumber(invocation, 'pace', 0, { min: 1, max: maxPerSecond });
    return resumeBatch(sql, operator, { ...order, perSecond: pace === 0 ? undefined : pace });
  },
  ({ batchId, waiting, perSecond }) =>
    `batch ${batchId} goes on with ${jobsText(waiting)}, at most ${perSecond ?? 0} per second`,
);

const undo = changeBy(
  (_invocation, { sql, operator, ...order }) => undoBatch(sql, operator, order),
  ({ batchId }) =>
    `the schedulers take back what has not begun of batch ${batchId}; progress: purser dlq batches ${batchId}`,
);

const idPositional = {
  name: 'ID',
  help: "the batch's id, as purser dlq batches lists it",
  required: true,
} satisfies PositionalSpec;
const changeOptions = { reason: reasonOption, by: byOption, json: jsonOption };

export const batchCommands: readonly Command[] = [
  {
    path: 'dlq batches',
    summary:
      'list batches over a filter, previews among them, newest first; or show one with its progress',
    positionals: [{ ...idPositional, required: false }],
    options: { limit: limitOption, json: jsonOption },
    run: show,
  },
  {
    path: 'dlq batches stop',
    summary: 'stop a running batch: no more of its jobs are met until it is resumed',
    positionals: [idPositional],
    options: changeOptions,
    run: stop,
  },
  {
    path: 'dlq batches resume',
    summary: 'go on with a stopped batch',
    positionals: [idPositional],
    options: {
      pace: { value: 'N', help: 'at most so many jobs per second (default: as before)' },
      ...changeOptions,
    },
    run: resume,
  },
  {
    path: 'dlq batches undo',
    summary:
      'end a batch and take back what has not begun: new jobs of a replay are cancelled and their dead letters listed again, discarded ones too; a cancelled job stays cancelled',
    positionals: [idPositional],
    options: changeOptions,
    run: undo,
  },
];
