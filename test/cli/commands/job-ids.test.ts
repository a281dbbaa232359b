/** Ids of jobs: every id that the database can hold is taken, exactly. */
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { deadLetterEntryId, jobOfDeadLetterEntry } from '../../../src/queues/dead-letter-mirror.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { addTenant } from '../../support/tenants.ts';
import { invokeWith } from '../in-process.ts';
import type { Invoke } from '../in-process.ts';

let database: TestDatabase;
let invoke: Invoke;
let tenantId: string;
beforeAll(async () => {
  database = await freshDatabase();
  invoke = invokeWith({ DATABASE_URL: database.url });
});
beforeEach(async () => {
  tenantId = await addTenant(database.sql);
});
afterAll(() => database.close());

const json = async (...args: string[]): Promise<unknown> =>
  JSON.parse((await invoke(...args, '--json')).out);

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
  const { jobId } = (await json('enqueue', 'finops_analysis', '--tenant', tenantId)) as {
    jobId: string;
  };
  await database.sql`update background_jobs set id = ${largest} where id = ${jobId}`;
  expect(await json('jobs', 'show', largest)).toMatchObject({ jobId: largest });
  expect(await json('jobs', 'list', '--tenant', tenantId)).toMatchObject([{ jobId: largest }]);
  await database.sql`
    update background_jobs set state = 'dead_letter', finished_at = now(),
      error = '{"code": "boom", "message": "m"}' where id = ${largest}`;
  expect(await json('dlq', 'list', '--tenant', tenantId)).toMatchObject([{ jobId: largest }]);
  const replay = (await json('dlq', 'replay', largest)) as { jobId: string };
  expect(await json('jobs', 'show', replay.jobId)).toMatchObject({
    replayOf: largest,
    stateDetail: { replay_of: largest },
  });
  expect(jobOfDeadLetterEntry(deadLetterEntryId(largest))).toBe(largest);
});
