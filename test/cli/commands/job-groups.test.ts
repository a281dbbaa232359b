/** The group of a job, as an operator gives it and sees it. */
import { expect, it } from 'vitest';
import { useCliDatabase } from '../cli-database.ts';

const cli = useCliDatabase();
const { invoke, json } = cli;

async function enqueued(...more: string[]): Promise<string> {
  const args = ['enqueue', 'finops_analysis', '--tenant', cli.tenantId, ...more];
  return ((await json(...args)) as { jobId: string }).jobId;
}
const group = 'region: eu-west-1 / Zürich';

it('a job that names one is shown with it, and one that names none is not', async () => {
  const grouped = await enqueued('--group', group);
  const plain = await enqueued();
  expect(await json('jobs', 'show', grouped)).toMatchObject({ group });
  expect(await json('jobs', 'show', plain)).toMatchObject({ group: null });
  expect((await invoke('jobs', 'show', grouped)).out).toMatch(
    new RegExp(`^type +finops_analysis\ngroup +${group}\nstate `, 'm'),
  );
  expect((await invoke('jobs', 'show', plain)).out).toMatch(/^type +finops_analysis\nstate /m);
});

it.each([
  ['all', []],
  ['those of a state', ['--state', 'pending']],
])('the list of %s has a column for it where a job has one', async (_which, filter) => {
  const list = ['jobs', 'list', '--tenant', cli.tenantId, ...filter];
  await enqueued();
  expect((await invoke(...list)).out).toMatch(/^job +tenant +type +state /);
  expect(await json(...list)).toMatchObject([{ group: null }]);
  await enqueued('--group', group);
  const [head, , first, second] = (await invoke(...list)).out.split('\n');
  expect(head).toMatch(/^job +tenant +type +group +state /);
  expect(first).toMatch(new RegExp(` finops_analysis +${group} +pending `));
  expect(second).toMatch(/ finops_analysis +- +pending /);
  expect(await json(...list)).toMatchObject([{ group }, { group: null }]);
});

it('so has the list of dead letters', async () => {
  const list = ['dlq', 'list', '--tenant', cli.tenantId];
  const dies = async (jobId: string) => {
    await cli.sql`
      update background_jobs set state = 'dead_letter', finished_at = now(),
        error = ${cli.sql.json({ code: 'boom', message: 'bad news' })}
      where id = ${jobId}::bigint`;
  };
  await dies(await enqueued());
  expect((await invoke(...list)).out).toMatch(/^job +tenant +type +attempts /);
  await dies(await enqueued('--group', group));
  const { out } = await invoke(...list);
  expect(out).toMatch(/^job +tenant +type +group +attempts /);
  expect(out).toMatch(new RegExp(` finops_analysis +${group} +0 `));
  expect(await json(...list)).toMatchObject([{ group }, { group: null }]);
});
