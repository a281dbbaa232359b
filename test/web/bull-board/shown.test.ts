/** What Bull Board shows: the transport, and of an entry the states of its jobs. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { z } from 'zod';
import { listDeadLetters } from '../../../src/jobs/dead-letters.ts';
import { deadLetterEntryId, mirrorDeadLetters } from '../../../src/queues/dead-letter-mirror.ts';
import { startFixture } from '../web-fixture.ts';
import type { WebFixture } from '../web-fixture.ts';

let fixture: WebFixture;
beforeAll(async () => {
  fixture = await startFixture();
});
afterAll(() => fixture.close());

const listedEntries = z.object({
  queues: z.array(
    z.object({
      name: z.string(),
      jobs: z.array(z.object({ id: z.string(), data: z.unknown() })),
    }),
  ),
});

it('shows of an entry how many of its jobs are in which state, and stores nothing of it', async () => {
  const { system } = fixture.database;
  const rows = await system<{ id: string }[]>`
    insert into background_jobs (tenant_id, job_type, max_attempts, give_up_at)
    select ${fixture.tenantId}, 'report', 1, now() + interval '1 day' from generate_series(1, 2)
    returning id`;
  const jobIds = [await fixture.deadLetter(), ...rows.map(({ id }) => id), '987654321'];
  const chunk = randomUUID();
  const jobs = jobIds.map((jobId) => ({ jobId, jobType: 'report', entryId: chunk }));
  await fixture.transport.add(jobs);
  const states = { dead_letter: 1, pending: 2, 'not in the database': 1 };
  const one = await fixture.request(`/queues/api/queues/report/${chunk}`);
  expect(await one.json()).toMatchObject({ job: { data: { jobs: states, jobIds } } });
  const list = await fixture.request('/queues/api/queues?activeQueue=report&status=latest');
  const { queues } = listedEntries.parse(await list.json());
  const entries = queues.find(({ name }) => name === 'report')?.jobs ?? [];
  expect(entries.find(({ id }) => id === chunk)?.data).toMatchObject({ jobs: states });
  const stored = await fixture.transport.queue('report').getJob(chunk);
  expect(stored?.data).toEqual({ entryId: chunk, jobIds });
  await stored?.remove();
});

it('shows no time at which a dead letter would run', async () => {
  const entry = deadLetterEntryId(await fixture.deadLetter());
  const listed = await listDeadLetters(fixture.database.system, { limit: 200 });
  await mirrorDeadLetters(fixture.transport, listed);
  const one = await fixture.request(`/queues/api/queues/dead-letter/${entry}`);
  expect(await one.json()).toMatchObject({ job: { id: entry, delay: 0, opts: { delay: 0 } } });
});

it('says that it shows the transport only, and leads to the console', async () => {
  const html = await (await fixture.request('/queues')).text();
  expect(html).toContain('Purser: transport only');
  expect(html).toContain('Transport only, read-only');
  expect(html).toMatch(/To the console/);
});
