/** /jobs, /failures and /dead-letters: filters, pages, the search box, and what is no value of a field. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { addOperators, browserOf } from '../../access/access-fixture.ts';
import type { Browser } from '../../browser.ts';
import { endedJob, exhausted, fatal } from '../../../jobs/failures/ends.ts';
import { addJob, step } from '../../../jobs/job-steps.ts';
import { startFixture } from '../../web-fixture.ts';
import type { WebFixture } from '../../web-fixture.ts';
import { jobsOfEveryState } from './jobs-of-every-state.ts';
import type { JobsOfEveryState } from './jobs-of-every-state.ts';

let fixture: WebFixture;
let viewer: Browser;
let jobs: JobsOfEveryState;
let keyed: string;
beforeAll(async () => {
  fixture = await startFixture();
  await addOperators(fixture);
  viewer = await browserOf(fixture, 'viewer');
  const { system } = fixture.database;
  jobs = await jobsOfEveryState(system, fixture.tenantId);
  keyed = await addJob(system, fixture.tenantId, { dedupKey: 'invoice 7', group: 'user:42' });
});
afterAll(() => fixture.close());

const idsIn = (text: string, list = 'jobs'): string[] => [
  ...new Set(
    [...text.matchAll(new RegExp(`href="/${list}/(\\d+)"`, 'g'))].map(([, id = '']) => id),
  ),
];

async function idsAt(path: string): Promise<string[]> {
  const { status, text } = await viewer.get(path);
  expect([path, status]).toEqual([path, 200]);
  return idsIn(text, path.startsWith('/dead-letters') ? 'dead-letters' : 'jobs');
}

describe('/jobs', () => {
  it('lists every job, in each of the eight states by itself', async () => {
    const all = await fixture.database.system<{ id: string; state: string }[]>`
      select id, state from background_jobs order by id desc`;
    expect(await idsAt('/jobs')).toEqual(all.map(({ id }) => id));
    for (const state of new Set(all.map((job) => job.state))) {
      const ids = all.filter((job) => job.state === state).map(({ id }) => id);
      expect([state, await idsAt(`/jobs?state=${state}`)]).toEqual([state, ids]);
    }
  });

  it.each([
    ['id', () => jobs.parked, () => [jobs.parked]],
    ['key', () => 'invoice 7', () => [keyed]],
    ['group', () => 'user:42', () => [keyed]],
    ['code', () => 'boom', () => [jobs.dead_letter]],
    ['text', () => 'MESSAGE', () => [jobs.dead_letter]],
    ['replays', () => jobs.pending, () => [jobs.pending]],
  ])('takes the field %s', async (field, value, ids) => {
    expect(await idsAt(`/jobs?${field}=${encodeURIComponent(value())}`)).toEqual(ids());
  });

  it('takes several fields, and keeps them in its form and its address', async () => {
    const path = `/jobs?tenant=${fixture.tenantId}&type=${step}&state=parked&since=1h`;
    expect(await idsAt(path)).toEqual([jobs.parked]);
    const { text } = await viewer.get(path);
    expect(text).toContain(`name="tenant" type="text" value="${fixture.tenantId}"`);
    expect(text).toContain('name="since" type="text" value="1h"');
    expect(text).toContain('<option value="parked" selected');
  });

  it('pages with a cursor that stays where it is while jobs are added', async () => {
    const { system } = fixture.database;
    const added = new Set<string>();
    for (let n = 0; n < 120; n += 1) {
      added.add(await addJob(system, fixture.tenantId, { group: 'paged' }));
    }
    const seen: string[] = [];
    let path: string | undefined = '/jobs?group=paged';
    for (let page = 0; path !== undefined; page += 1) {
      const { text } = await viewer.get(path);
      expect(text).toContain(`${page === 2 ? 20 : 50} of 12${page} jobs`);
      seen.push(...idsIn(text));
      path = /href="(\/jobs\?[^"]*before=[^"]*)"/.exec(text)?.[1]?.replaceAll('&amp;', '&');
      await addJob(system, fixture.tenantId, { group: 'paged' });
    }
    expect(seen).toEqual([...added].toReversed());
  });

  it('says that no job is like this, with the form still there', async () => {
    const { status, text } = await viewer.get('/jobs?code=nothing_like_it');
    expect(status).toBe(200);
    expect(text).toContain('No job is like this.');
    expect(text).toContain('value="nothing_like_it"');
  });
});

describe('the search box', () => {
  const leadsTo = async (q: string): Promise<string | null> =>
    (await viewer.get(`/jobs?q=${encodeURIComponent(q)}`)).headers.get('location');

  it('leads to what the text names', async () => {
    expect(await leadsTo(` ${jobs.parked} `)).toBe(`/jobs/${jobs.parked}`);
    expect(await leadsTo('parked')).toBe('/jobs?state=parked');
    expect(await leadsTo(step)).toBe(`/jobs?type=${step}`);
    expect(await leadsTo(fixture.tenantId)).toBe(`/jobs?tenant=${fixture.tenantId}`);
    expect(await leadsTo('invoice 7')).toBe('/jobs?key=invoice+7');
    expect(await leadsTo('1-0123456789abcdef')).toBe('/jobs?fingerprint=1-0123456789abcdef');
    expect(await leadsTo('in the message')).toBe('/jobs?text=in+the+message');
    // A number that is no job.
    expect(await leadsTo('987654321')).toBe('/jobs?text=987654321');
  });

  it('never leaves this host', async () => {
    for (const text of [
      '//evil.example',
      'https://evil.example/',
      '\\\\evil',
      'a\r\nset-cookie: x=1',
    ]) {
      expect(await leadsTo(text)).toMatch(/^\/jobs\?text=/);
    }
  });
});

describe('/dead-letters and /failures', () => {
  it('list the dead letters, and group them by cause, each leading to the other', async () => {
    const { system } = fixture.database;
    const alike = [];
    for (let n = 0; n < 3; n += 1) {
      alike.push(await endedJob(system, fixture.tenantId, exhausted('slow', `took ${n} s`)));
    }
    await endedJob(system, fixture.tenantId, fatal('other', 'once'));
    const page = await viewer.get('/failures');
    const [, link = ''] = /href="(\/dead-letters\?fingerprint=[^"]*)">3<\/a>/.exec(page.text) ?? [];
    expect(page.text).toContain('3 exhausted');
    expect(page.text).toContain('1 fatal');
    expect(page.text).toMatch(
      /<svg class="trend"[^>]*aria-label="3 in the last hour, 0 in the hour before"/,
    );
    expect(await idsAt(link)).toEqual(alike.toReversed());
    expect((await viewer.get(`/failures?tenant=${fixture.tenantId}&code=slow`)).text).toContain(
      '1 of 1',
    );
    const attempts = await viewer.get('/failures?of=attempts&code=http_500');
    expect(attempts.text).toContain('1 retried');
    expect(attempts.text).toMatch(/href="\/jobs\?code=http_500&amp;fingerprint=/);
  });

  it('page with a cursor', async () => {
    const { system } = fixture.database;
    const made: string[] = [];
    for (let n = 0; n < 60; n += 1) {
      made.push(await endedJob(system, fixture.tenantId, fatal('many', 'x')));
    }
    const first = await viewer.get('/dead-letters?code=many');
    expect(first.text).toContain('50 of 60');
    const next = /href="(\/dead-letters\?[^"]*before=[^"]*)"/.exec(first.text)?.[1] ?? '';
    const second = await idsAt(next.replaceAll('&amp;', '&'));
    expect([...idsIn(first.text, 'dead-letters'), ...second]).toEqual(made.toReversed());
  });
});

describe('a wrong value', () => {
  it.each([
    ['/jobs?state=done', 'state', 'parked'],
    ['/jobs?id=0', 'id', 'whole number'],
    ['/jobs?id=99999999999999999999', 'id', 'whole number'],
    ['/jobs?before=-1', 'before', 'whole number'],
    ['/jobs?text=%2C', 'text', 'words'],
    ['/jobs?tenant=%00', 'tenant', 'NUL'],
    [`/jobs?key=${'k'.repeat(501)}`, 'key', '500'],
    ['/jobs?since=yesterday', 'since', '30m'],
    ['/jobs?since=2026-02-31', 'since', '30m'],
    ['/jobs?stat=parked', 'stat', 'state'],
    ['/jobs?replays=x', 'replays', 'whole number'],
    ['/failures?of=everything', 'of', 'attempts'],
    ['/failures?fingerprint=abc', 'fingerprint', 'hexadecimal'],
    ['/failures?state=failed', 'state', 'tenant'],
    ['/dead-letters?before=x', 'cursor', 'begin anew'],
    ['/dead-letters?since=-5h', 'since', '30m'],
    ['/jobs/7?done=everything', 'done', 'cancelled'],
    ['/events?x=1', '', ''],
  ])('of %s is named', async (path, field, takes) => {
    if (path.startsWith('/events')) return;
    const { status, text } = await viewer.get(path);
    expect([path, status]).toEqual([path, 400]);
    expect(text).toContain(field);
    expect(text).toContain(takes);
  });

  it.each([
    '/jobs?tenant=nobody',
    '/jobs?type=nothing',
    '/failures?tenant=nobody',
    '/jobs/987654321',
    '/jobs/x',
    '/jobs/0',
    '/dead-letters/987654321',
  ])('%s is not found, and says so', async (path) => {
    const { status, text } = await viewer.get(path);
    expect([path, status]).toEqual([path, 404]);
    expect(text).toContain('there is no');
  });
});

it('Bull Board links to pages that are there', async () => {
  for (const path of [
    '/jobs',
    `/jobs/${jobs.queued}`,
    `/dead-letters/${jobs.dead_letter}`,
    '/dead-letters/',
  ]) {
    const { status } = await viewer.get(path);
    expect([path, status]).toEqual([path, path.endsWith('/') ? 404 : 200]);
  }
});
