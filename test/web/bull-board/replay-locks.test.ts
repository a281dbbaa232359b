/** Retry on a dead letter whose row, tenant or earlier replay another session holds: a clear answer, and later a job. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { deadLetterEntryId } from '../../../src/queues/dead-letter-mirror.ts';
import { addWalkedTypes } from '../../scheduler/arranged-tenant.ts';
import { holdLock, listTenantLocks } from '../../scheduler/locking-tenant.ts';
import { arrangeForOperator } from '../../cli/locks/walked-commands.ts';
import { startFixture } from '../web-fixture.ts';
import type { WebFixture } from '../web-fixture.ts';

let fixture: WebFixture;
beforeAll(async () => {
  fixture = await startFixture();
  await addWalkedTypes(fixture.test.sql);
});
afterAll(() => fixture.close());

/** More than the lock timeout, the update of the mirror and their start. */
const withinMs = 12_000;

interface Answer {
  readonly status: number;
  readonly body: unknown;
}

async function retry(jobId: string): Promise<Answer> {
  const path = `/queues/api/queues/dead-letter/${deadLetterEntryId(jobId)}/retry`;
  const answer = await fixture.request(path, { method: 'PUT' });
  return { status: answer.status, body: await answer.json() };
}

const late: Answer = { status: 0, body: 'waits' };
const retryInTime = (jobId: string): Promise<Answer> =>
  Promise.race([retry(jobId), sleep(withinMs, late)]);

/** Runs `text` in an operator's own session and answers what Retry says meanwhile. */
async function whileHeld(text: string, jobId: string): Promise<Answer> {
  let release = (): void => {};
  const released = new Promise<void>((resolve) => (release = resolve));
  let answer = late;
  await fixture.test.sql
    .begin(async (tx) => {
      await tx.unsafe(text);
      const asked = retryInTime(jobId);
      void asked.finally(release);
      await released;
      answer = await asked;
      throw new Error('released');
    })
    .catch(() => {});
  return answer;
}

describe.each([
  ['its row', (id: string) => `select from jobs where id = ${id} for update`],
  ['its tenant', () => 'select from tenants for update'],
  [
    'an earlier replay that has not committed',
    (id: string) => `
      insert into background_jobs (tenant_id, job_type, max_attempts, give_up_at, replay_of)
      select tenant_id, job_type, 1, now(), id from background_jobs where id = ${id}`,
  ],
])('a session that holds %s', (_what, hold) => {
  it('is named in the answer, and the dead letter is replayed afterwards', async () => {
    const jobId = await fixture.deadLetter();
    expect(await whileHeld(hold(jobId), jobId)).toEqual({
      status: 503,
      body: {
        error: 'lock_held',
        message: expect.stringMatching(
          new RegExp(
            `the replay of dead letter ${jobId} waited in vain for a lock that pid \\d+ \\(login purser_app, ` +
              '"purser test", .*open since.*Try again',
          ),
        ),
      },
    });
    expect(await retry(jobId)).toEqual({
      status: 200,
      body: { jobId: expect.any(String), created: true },
    });
  });
});

it('every lock that a tenant can take lets Retry pass or is named', async () => {
  const { test } = fixture;
  const database = await test.open({ level: 'L3' });
  const locks = await listTenantLocks(test.sql);
  const faults: unknown[] = [];
  let refused = 0;
  for (const lock of locks) {
    const tenant = await arrangeForOperator(test.sql);
    const held = await holdLock(database.tenant, tenant, lock);
    const { status, body } = await retryInTime(tenant.toReplay);
    await held.release();
    if (status === 503) refused += 1;
    const named = /pid \d+ \(login purser_app_tenant/.test(JSON.stringify(body));
    if (status !== 200 && !(status === 503 && named)) faults.push([lock.name, status, body]);
    const after = await retry(tenant.toReplay);
    if (after.status !== 200) faults.push([lock.name, 'afterwards', after]);
  }
  process.stderr.write(`  ${locks.length} locks of a tenant, ${refused} named the holder\n`);
  expect(faults).toEqual([]);
}, 300_000);
