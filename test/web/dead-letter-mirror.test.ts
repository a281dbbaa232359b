import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { discardDeadLetter, listDeadLetters } from '../../src/jobs/dead-letters.ts';
import { mirrorDeadLetters, mirroredDeadLetters } from '../../src/queues/dead-letter-mirror.ts';
import type { MirrorChange } from '../../src/queues/dead-letter-mirror.ts';
import { describeOnRedis, startRedis } from '../support/redis.ts';
import { startFixture } from './web-fixture.ts';
import type { WebFixture } from './web-fixture.ts';

function mirrorSuite(start: () => Promise<WebFixture>): void {
  let fixture: WebFixture;
  beforeAll(async () => {
    fixture = await start();
  });
  afterAll(() => fixture.close());
  beforeEach(async () => {
    await fixture.transport.queue('dead-letter').obliterate({ force: true });
    await fixture.database.system`delete from background_jobs`;
  });

  const mirror = async (): Promise<MirrorChange> =>
    mirrorDeadLetters(
      fixture.transport,
      await listDeadLetters(fixture.database.system, { limit: mirroredDeadLetters }),
    );
  // In Bull Board's order.
  const entryIds = async (): Promise<string[]> => {
    const delayed = await fixture.transport.queue('dead-letter').getJobs(['delayed']);
    return delayed.map(({ id }) => id ?? '');
  };

  it('adds dead letters, newest first, and removes discarded ones', async () => {
    const older = await fixture.deadLetter({ finishedAt: new Date(Date.now() - 60_000) });
    const newer = await fixture.deadLetter();
    expect(await mirror()).toEqual({ added: 2, removed: 0 });
    expect(await entryIds()).toEqual([`dead-${newer}`, `dead-${older}`]);
    await discardDeadLetter(fixture.database.system, newer, {
      operator: 'test',
      source: 'cli',
      reason: 'known',
    });
    expect(await mirror()).toEqual({ added: 0, removed: 1 });
    expect(await entryIds()).toEqual([`dead-${older}`]);
    expect(await mirror()).toEqual({ added: 0, removed: 0 });
  });

  it('holds ids and an error code, no payload and no message', async () => {
    const jobId = await fixture.deadLetter();
    await mirror();
    const entry = await fixture.transport.queue('dead-letter').getJob(`dead-${jobId}`);
    expect(entry?.data).toEqual({
      entryId: `dead-${jobId}`,
      jobIds: [],
      jobId,
      jobType: 'report',
      tenantId: fixture.tenantId,
      errorCode: 'boom',
    });
    expect(JSON.stringify(entry)).not.toMatch(/in the payload|in the message/);
  });

  it('ends in the same state when several processes update it at once', async () => {
    const jobIds = await Promise.all([1, 2, 3].map(() => fixture.deadLetter()));
    await Promise.all([mirror(), mirror(), mirror(), mirror()]);
    expect((await entryIds()).toSorted()).toEqual(jobIds.map((id) => `dead-${id}`).toSorted());
  });

  it('is restored after the store lost everything', async () => {
    await fixture.deadLetter();
    await mirror();
    await fixture.transport.queue('dead-letter').obliterate({ force: true });
    expect(await mirror()).toEqual({ added: 1, removed: 0 });
  });

  it('holds the newest dead letters only', async () => {
    await fixture.database.system`
      insert into background_jobs
        (tenant_id, job_type, state, error, max_attempts, give_up_at, finished_at)
      select ${fixture.tenantId}, 'report', 'dead_letter', '{"code": "boom"}', 3, now(),
             now() - n * interval '1 minute'
      from generate_series(1, ${mirroredDeadLetters + 5}) n`;
    expect(await mirror()).toEqual({ added: mirroredDeadLetters, removed: 0 });
    const newest = await fixture.deadLetter();
    expect(await mirror()).toEqual({ added: 1, removed: 1 });
    const ids = await fixture.transport.queue('dead-letter').getJobs(['delayed']);
    expect(ids[0]?.id).toBe(`dead-${newest}`);
    expect(ids).toHaveLength(mirroredDeadLetters);
  });
}

describe('the mirror of dead letters on the Postgres backend', () => {
  mirrorSuite(() => startFixture());
});

describeOnRedis('the mirror of dead letters on Redis', () => {
  let stop = (): Promise<void> => Promise.resolve();
  afterAll(() => stop());
  mirrorSuite(async () => {
    const redis = await startRedis();
    stop = () => redis.stop();
    return startFixture(redis.url);
  });
});
