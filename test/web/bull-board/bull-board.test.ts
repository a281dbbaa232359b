import { randomUUID } from 'node:crypto';
import { appRoutes } from '@bull-board/api/dist/routes.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { findJob } from '../../../src/jobs/inspect.ts';
import { listDeadLetters } from '../../../src/jobs/dead-letters.ts';
import { deadLetterEntryId, mirrorDeadLetters } from '../../../src/queues/dead-letter-mirror.ts';
import { describeOnRedis, startRedis } from '../../support/redis.ts';
import { startFixture } from '../web-fixture.ts';
import type { WebFixture } from '../web-fixture.ts';

const boardQueues = z.object({
  queues: z.array(z.object({ name: z.string(), readOnlyMode: z.boolean() })),
});

const verbs = (method: string | readonly string[]): string[] => [method].flat();
const routes = appRoutes.api.flatMap(({ method, route }) =>
  [route].flat().flatMap((path) => verbs(method).map((verb) => ({ verb, path }))),
);
const reading = routes.filter(({ verb }) => verb === 'get');
const changing = routes.filter(({ verb }) => verb !== 'get');
const pathOf = (path: string, queue: string, entry: string): string =>
  `/queues${path
    .replace(':queueName', queue)
    .replace(':jobId', entry)
    .replace(':queueStatus', 'delayed')
    .replace(':schedulerId', 'nightly')}`;

/** All state that an unguarded change would alter. */
async function stateOf(fixture: WebFixture): Promise<unknown> {
  const jobs = await fixture.database.system`
    select id, state, attempt, payload, scheduled_for, priority from background_jobs order by id`;
  const queues = await Promise.all(
    ['report', 'dead-letter'].map(async (name) => {
      const queue = fixture.transport.queue(name);
      const entries = await queue.getJobs();
      return {
        paused: await queue.isPaused(),
        entries: entries
          .map(({ id, data, delay, priority, timestamp }) => ({
            id,
            data,
            delay,
            priority,
            timestamp,
          }))
          .toSorted((one, other) => String(one.id).localeCompare(String(other.id))),
      };
    }),
  );
  return { jobs: [...jobs], queues };
}

const entryId = randomUUID();

function bullBoardSuite(start: () => Promise<WebFixture>): void {
  let fixture: WebFixture;
  beforeAll(async () => {
    fixture = await start();
    await fixture.transport.add([{ jobId: '900', jobType: 'report', entryId }]);
  });
  afterAll(() => fixture.close());

  const mirror = async (): Promise<unknown> =>
    mirrorDeadLetters(
      fixture.transport,
      await listDeadLetters(fixture.database.system, { limit: 200 }),
    );
  const put = (path: string, headers: Record<string, string> = {}): Promise<Response> =>
    fixture.request(`/queues/api/queues/${path}`, { method: 'PUT', headers });

  it('this version of Bull Board has 23 routes that change something', () => {
    // A new release with more routes has to be reviewed; the guard refuses unknown ones.
    expect(changing).toHaveLength(23);
  });

  it.each(['report', 'dead-letter'])(
    'refuses every route that changes %s, names a page and a command, and changes nothing',
    async (queue) => {
      const jobId = await fixture.deadLetter();
      await mirror();
      const entry = queue === 'report' ? entryId : deadLetterEntryId(jobId);
      const before = await stateOf(fixture);
      for (const { verb, path } of changing) {
        const answer = await fixture.request(pathOf(path, queue, entry), {
          method: verb.toUpperCase(),
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify({ name: 'report', data: {}, delay: 1, priority: 9, concurrency: 1 }),
        });
        expect([path, answer.status]).toEqual([path, 403]);
        const refusal = z
          .object({ message: z.string(), command: z.string(), page: z.string() })
          .parse(await answer.json());
        expect(refusal.command).toMatch(/^purser /);
        const ofQueue = queue === 'dead-letter' && path.includes(':queueName');
        expect(refusal.page).toMatch(ofQueue ? /^\/dead-letters$/ : /^\//);
        expect(refusal.message).toContain(`Page: ${refusal.page} Command: ${refusal.command}`);
      }
      expect(await stateOf(fixture)).toEqual(before);
    },
  );

  it.each([
    ['DELETE', '/queues/api/queues/report'],
    ['POST', '/queues/api/metrics/history/purge'],
    ['PUT', '/queues/api/queues/dead%2Dletter/dead-1/promote/'],
    ['PUT', `/queues/api/queues/report/${entryId}/a-new-button`],
    ['PUT', '/queues/api/queues/dead-letter/dead-1/promoted'],
    ['PATCH', '/queues'],
    ['POST', '/queues/anything'],
    ['OPTIONS', '/queues/api/queues'],
  ])('refuses unknown routes: %s %s', async (method, path) => {
    expect((await fixture.request(path, { method })).status).toBe(403);
  });

  it.each([
    ['dead-letter/dead-77/clean', 'purser dlq discard 77 --reason TEXT'],
    ['dead-letter/clean/delayed', 'purser dlq discard ID --reason TEXT'],
    ['dead-letter/promote', 'purser dlq replay ID'],
    ['dead-letter/retry/delayed', 'purser dlq replay ID'],
    [`report/${entryId}/retry`, 'purser dlq replay ID'],
    [`report/${entryId}/promote`, 'purser jobs show ID'],
    ['report/$(reboot)/clean', 'purser jobs show ID'],
    ['report/pause', 'purser start worker'],
    ['pause', 'purser start worker'],
  ])('names the command for %s', async (path, command) => {
    expect(await (await put(path)).json()).toMatchObject({ command });
  });

  it('names the command for adding a job', async () => {
    const answer = await fixture.request('/queues/api/queues/report/add', { method: 'POST' });
    expect(await answer.json()).toMatchObject({ command: 'purser enqueue report --tenant TENANT' });
  });

  it.each(reading.map(({ path }) => path))('allows reading: %s', async (path) => {
    const answer = await fixture.request(pathOf(path, 'report', entryId));
    expect([path, answer.status]).toEqual([path, 200]);
  });

  it('refuses a replay of a dead letter, also to an administrator, and from whatever page', async () => {
    const jobId = await fixture.deadLetter();
    await mirror();
    for (const action of ['promote', 'retry']) {
      const path = `dead-letter/${deadLetterEntryId(jobId)}/${action}`;
      const answer = await put(path);
      expect([answer.status, await answer.json()]).toEqual([
        403,
        expect.objectContaining({ page: '/dead-letters', command: `purser dlq replay ${jobId}` }),
      ]);
      for (const headers of [
        { origin: 'https://elsewhere.example' },
        { origin: 'null' },
        { 'sec-fetch-site': 'cross-site' },
        { 'sec-fetch-site': 'same-site' },
      ]) {
        const foreign = await put(path, headers);
        expect([foreign.status, await foreign.json()]).toEqual([
          403,
          expect.objectContaining({ error: 'cross_origin' }),
        ]);
      }
    }
    expect((await findJob(fixture.database.system, jobId))?.replayedBy).toBeNull();
  });

  it('shows a job type that is registered later, read-only', async () => {
    await fixture.database.system`
      insert into job_types (job_type, timeout_ms, max_attempts) values ('late', 1000, 1)
      on conflict do nothing`;
    await expect
      .poll(
        async () => {
          const answer = await fixture.request('/queues/api/queues');
          const { queues } = boardQueues.parse(await answer.json());
          return Object.fromEntries(queues.map(({ name, readOnlyMode }) => [name, readOnlyMode]));
        },
        { timeout: 15_000 },
      )
      .toMatchObject({ report: true, late: true, 'dead-letter': true });
  });

  it('serves its page and files without links to other hosts', async () => {
    const page = await fixture.request('/queues/queue/report');
    const html = await page.text();
    expect(page.headers.get('content-security-policy')).toContain("default-src 'none'");
    expect(page.headers.get('cache-control')).toBe('no-store');
    expect(html).not.toMatch(/https?:\/\//);
    const files = [...html.matchAll(/(?:src|href)="(static\/[^"]+)"/g)].map(([, file]) => file);
    expect(files.length).toBeGreaterThan(3);
    for (const file of files) {
      const answer = await fixture.request(`/queues/${file}`);
      expect([file, answer.status]).toEqual([file, 200]);
      await answer.arrayBuffer();
    }
  });

  it('refuses a body that is too large', async () => {
    const answer = await fixture.request('/queues/api/queues/report/add', {
      method: 'POST',
      body: 'x'.repeat(70_000),
    });
    expect(answer.status).toBe(413);
  });
}

describe('Bull Board on the Postgres backend', () => {
  bullBoardSuite(() => startFixture());
});

describeOnRedis('the board on Redis', () => {
  let stop = (): Promise<void> => Promise.resolve();
  afterAll(() => stop());
  bullBoardSuite(async () => {
    const redis = await startRedis();
    stop = () => redis.stop();
    return startFixture(redis.url);
  });
});
