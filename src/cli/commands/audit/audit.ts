/** `purser audit`: the record of what operators did, newest first. */
import { exitCodes } from '../../../errors.ts';
import { assertKnown } from '../../../jobs/pauses.ts';
import { countActs, listActs } from '../../../operations/audit.ts';
import type { ActRow } from '../../../operations/audit.ts';
import { withDatabase } from '../../runtime/with-database.ts';
import { jsonOption } from '../../terminal/command.ts';
import type { Command, Invocation } from '../../terminal/command.ts';
import { limitOf, limitOption, noteCut, sinceOf, sinceOption } from '../../terminal/cut-list.ts';
import { formatTable } from '../../terminal/table.ts';
import { checkJobId } from '../jobs.ts';

/** What it acted on, in one cell: names of the filter, and the jobs where it names no more than three. */
function subjectOf({ target = {}, jobIds = [] }: ActRow): string {
  const named = Object.entries(target).filter(([, value]) => value !== null);
  const jobs = jobIds.length === 0 ? [] : [`jobs=${jobIds.slice(0, 3).join(',')}`];
  const more = jobIds.length > 3 ? [`and ${jobIds.length - 3} more`] : [];
  return [...named.map(([name, value]) => `${name}=${textOf(value)}`), ...jobs, ...more].join(' ');
}

const textOf = (value: unknown): string =>
  typeof value === 'string' ? value : (JSON.stringify(value) ?? '');

const tableOf = (acts: readonly ActRow[]): string =>
  formatTable(
    ['at', 'operator', 'by', 'act', 'tenant', 'type', 'on', 'rows', 'reason', 'before', 'after'],
    acts.map((row) => [
      row.at,
      row.name,
      row.proof === 'asserted'
        ? `${row.door}, ${row.proof} on ${row.host ?? '?'}`
        : `${row.door}, ${row.proof}`,
      row.act,
      row.tenantId ?? '',
      row.jobType ?? '',
      subjectOf(row),
      row.affected ?? 1,
      row.reason ?? '',
      textOf(row.before),
      textOf(row.after),
    ]),
    60,
  );

async function run(invocation: Invocation): Promise<number> {
  const job = invocation.value('job');
  const filter = {
    operator: invocation.value('operator'),
    act: invocation.value('act'),
    tenantId: invocation.value('tenant'),
    jobId: job === undefined ? undefined : checkJobId(job),
    since: sinceOf(invocation),
  };
  const limit = limitOf(invocation);
  return withDatabase(invocation.config(), async ({ database: { system: sql } }) => {
    const acts = await listActs(sql, { ...filter, limit });
    // A tenant that is gone has acts.
    if (acts.length === 0 && filter.tenantId !== undefined) {
      await assertKnown(sql, { scope: 'tenant', name: filter.tenantId });
    }
    const all = acts.length < limit ? acts.length : await countActs(sql, filter);
    if (invocation.flag('json')) invocation.print(JSON.stringify(acts));
    else invocation.print(acts.length === 0 ? 'no act is on record' : tableOf(acts));
    noteCut(invocation, acts.length, all, 'acts');
    return exitCodes.ok;
  });
}

export const auditCommands: readonly Command[] = [
  {
    path: 'audit',
    summary:
      'list what operators did, newest first: who, by what, on what, with the values before and after',
    options: {
      operator: { value: 'NAME', help: 'only acts of this operator' },
      act: { value: 'ACT', help: 'only acts of this name, e.g. replay, pause or budget_set' },
      tenant: { value: 'T', help: 'only acts on this tenant' },
      job: { value: 'ID', help: 'only acts on this job' },
      since: sinceOption,
      limit: limitOption,
      json: jsonOption,
    },
    run,
  },
];
