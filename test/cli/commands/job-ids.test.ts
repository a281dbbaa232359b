/** Ids of jobs: every id that the database can hold is taken, exactly. */
import { expect, it } from 'vitest';
import { deadLetterEntryId, jobOfDeadLetterEntry } from '../../../src/queues/dead-letter-mirror.ts';
import { useCliDatabase } from '../cli-database.ts';

const cli = useCliDatabase();
const { invoke, json } = cli;

it('reports an unknown job, up to the largest id, and refuses what is no id', async () => {
  for (const id of ['999999999999999999', '1000000000000000000', '9223372036854775806']) {
    expect(await invoke('jobs', 'show', id)).toMatchObject({
      code: 1,
      err: `there is no job ${id}`,
    });
  }
  for (const id of ['9223372036854775808', '10000000000000000000', '0', '007']) {
    expect(await invoke('jobs', 'show', id)).toMatchObject({
      code: 64,
      err: expect.stringContaining('9223372036854775807'),
    });
  }
});

it('shows, lists, cancels and replays the job with the largest id exactly', async () => {
  const largest = '9223372036854775807';
  const { jobId } = (await json('enqueue', 'finops_analysis', '--tenant', cli.tenantId)) as {
    jobId: string;
  };
  await cli.sql`update background_jobs set id = ${largest} where id = ${jobId}`;
  expect(await json('jobs', 'show', largest)).toMatchObject({ jobId: largest });
  expect(await json('jobs', 'list', '--tenant', cli.tenantId)).toMatchObject([{ jobId: largest }]);
  await cli.sql`
    update background_jobs set state = 'dead_letter', finished_at = now(),
      error = '{"code": "boom", "message": "m"}' where id = ${largest}`;
  expect(await json('dlq', 'list', '--tenant', cli.tenantId)).toMatchObject([{ jobId: largest }]);
  const replay = (await json('dlq', 'replay', largest)) as { jobId: string };
  expect(await json('jobs', 'show', replay.jobId)).toMatchObject({
    replayOf: largest,
    stateDetail: { replay_of: largest },
  });
  expect(jobOfDeadLetterEntry(deadLetterEntryId(largest))).toBe(largest);
});
