/** /now: the counts are those of the database, and the charts those of the samples. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { jobStates } from '../../../../src/jobs/states.ts';
import { addUpJobCounts } from '../../../../src/jobs/sweep.ts';
import { sampleFleet } from '../../../../src/operations/now/sample.ts';
import { addOperators, browserOf } from '../../access/access-fixture.ts';
import type { Browser } from '../../browser.ts';
import { startFixture } from '../../web-fixture.ts';
import type { WebFixture } from '../../web-fixture.ts';
import { jobsOfEveryState } from './jobs-of-every-state.ts';

let fixture: WebFixture;
let viewer: Browser;
beforeAll(async () => {
  fixture = await startFixture();
  await addOperators(fixture);
  viewer = await browserOf(fixture, 'viewer');
  await jobsOfEveryState(fixture.database.system, fixture.tenantId);
});
afterAll(() => fixture.close());

/** What the page says of each state. */
async function shownCounts(): Promise<Record<string, number>> {
  const { status, text } = await viewer.get('/now');
  expect(status).toBe(200);
  const links = text.matchAll(/href="\/jobs\?state=(\w+)".*?<strong>([\d,]+)<\/strong>/g);
  return Object.fromEntries(
    [...links].map(([, state = '', jobs = '']) => [state, Number(jobs.replaceAll(',', ''))]),
  );
}

async function countedStates(): Promise<Record<string, number>> {
  const rows = await fixture.database.system<{ state: string; jobs: number }[]>`
    select state, count(*)::int as jobs from background_jobs group by state`;
  const counts = new Map(rows.map(({ state, jobs }) => [state, jobs]));
  return Object.fromEntries(jobStates.map((state) => [state, counts.get(state) ?? 0]));
}

describe('the counts', () => {
  it('are those of the jobs, with parked ones, handed back ones and those that a full worker left', async () => {
    const counted = await countedStates();
    expect(Object.values(counted).every((jobs) => jobs > 0)).toBe(true);
    expect(await shownCounts()).toEqual(counted);
  });

  it('are the same after the sweep has added them up, and after jobs were deleted', async () => {
    const { system } = fixture.database;
    await addUpJobCounts(system);
    expect(await shownCounts()).toEqual(await countedStates());
    await system`
      delete from jobs where id = (select min(id) from jobs where outcome = 'completed')`;
    expect(await shownCounts()).toEqual(await countedStates());
    await addUpJobCounts(system);
    expect(await shownCounts()).toEqual(await countedStates());
  });
});

describe('the page', () => {
  it('names what keeps jobs from running, with the command that lifts it', async () => {
    const { text } = await viewer.get('/now');
    expect(text).toContain('no scheduler lives');
    expect(text).toContain('purser start scheduler');
    expect(text).toContain('no worker lives');
    expect(text).toContain('Alive: 0 schedulers, 0 workers.');
  });

  it('says that nothing was sampled, then draws what was, and says when the samples end', async () => {
    const { system } = fixture.database;
    expect((await viewer.get('/now')).text).toContain('No scheduler has written figures yet');
    await sampleFleet(system);
    const { text } = await viewer.get('/now');
    expect(text).not.toContain('No scheduler has written figures');
    expect(text).toContain('2 became dead letters');
    expect(text).toMatch(/\(3 of 4\)|\(3 of 3\)/);
    await system`update purser.fleet_samples set taken_at = now() - interval '5 minutes'`;
    expect((await viewer.get('/now')).text).toContain('The charts end at');
  });

  it('leads from / and refuses fields that it does not have', async () => {
    const start = await viewer.get('/');
    expect([start.status, start.headers.get('location')]).toEqual([302, '/now']);
    const wrong = await viewer.get('/now?x=1');
    expect(wrong.status).toBe(400);
    expect(wrong.text).toContain('&quot;x&quot;');
  });
});
