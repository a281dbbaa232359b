/** What jobs, tenants and processes write is text on every page of the console, and never markup. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { requestCancel } from '../../../../src/jobs/cancel.ts';
import { storeLogLines } from '../../../../src/jobs/log-lines.ts';
import { storeProgress } from '../../../../src/jobs/leases.ts';
import { registerJobTypes } from '../../../../src/jobs/registration.ts';
import { pauseWork } from '../../../../src/jobs/pauses.ts';
import { previewBatch } from '../../../../src/operations/batches/preview.ts';
import { navigation } from '../../../../src/web/console/navigation.ts';
import { addOperators, browserOf } from '../../access/access-fixture.ts';
import type { Browser } from '../../browser.ts';
import { addJob, addJobType, finish, runningJob, step } from '../../../jobs/job-steps.ts';
import { exhausted } from '../../../jobs/failures/ends.ts';
import { reserve } from '../../../support/holds.ts';
import { startFixture } from '../../web-fixture.ts';
import type { WebFixture } from '../../web-fixture.ts';

/** Each place has a word of its own, so that what is not shown is noticed. */
const markup = (place: string): string =>
  `${place}"'><script>alert(1)</script><img src=x onerror=alert(2)>&lt;b&gt;\${1}{{1}}`;

let fixture: WebFixture;
let admin: Browser;
let dead: string;
let running: string;
let batch: string;
const tenantId = markup('tenant');

beforeAll(async () => {
  fixture = await startFixture();
  await addOperators(fixture);
  admin = await browserOf(fixture, 'admin');
  const { system } = fixture.database;
  await addJobType(system);
  await system`insert into tenants (id, plan) values (${tenantId}, 'pro')`;
  await system`
    insert into llm_budgets (tenant_id, monthly_limit_usd, hard_limit, limit_source)
    values (${tenantId}, 100, true, 'operator')`;
  const request = {
    payload: { [markup('field')]: markup('payload') },
    dedupKey: markup('key'),
    group: markup('group'),
  };
  const attempt = await runningJob(system, tenantId, request);
  await storeLogLines(system, [
    {
      jobId: attempt.jobId,
      tenantId,
      attempt: 1,
      lines: [{ at: new Date().toISOString(), level: '<b>level', text: markup('line') }],
    },
  ]);
  await reserve(system, { ...attempt, tenantId }, '0.1', {
    provider: markup('provider').slice(0, 100),
    model: markup('model'),
  });
  await finish(system, attempt, {
    ...exhausted(markup('code'), markup('message')),
    error: { code: markup('code'), message: markup('message'), stack: markup('stack') },
    detail: { reason: markup('detail') },
  });
  dead = attempt.jobId;
  const open = await runningJob(system, tenantId);
  await storeProgress(system, [{ ...open, done: 0.5, note: markup('note') }]);
  await requestCancel(system, { jobId: open.jobId, by: markup('by'), reason: markup('reason') });
  running = open.jobId;
  await addJob(system, tenantId);
  await pauseWork(system, {
    scope: 'tenant',
    name: tenantId,
    reason: markup('pause'),
    by: markup('who'),
  });
  const operator = { name: markup('batcher'), proof: 'asserted', door: 'cli' } as const;
  const filter = { tenantId, group: markup('group'), code: markup('code') };
  const reason = markup('why');
  ({ batchId: batch } = await previewBatch(system, operator, { act: 'replay', filter, reason }));
});
afterAll(() => fixture.close());

const placesOf = (): readonly (readonly [string, readonly string[]])[] => {
  const tenant = encodeURIComponent(tenantId);
  return [
    ['/now', []],
    ['/jobs', ['tenant', 'group', 'code']],
    [`/jobs?tenant=${tenant}&group=${encodeURIComponent(markup('group'))}`, ['tenant', 'group']],
    [`/jobs?code=${encodeURIComponent(markup('code'))}`, ['code', 'tenant']],
    [`/jobs?text=${encodeURIComponent(markup('nothing'))}`, ['nothing']],
    ['/failures', ['code', 'message']],
    ['/failures?of=attempts', ['code', 'message']],
    ['/dead-letters', ['tenant', 'code', 'message', 'group']],
    [
      `/jobs/${dead}`,
      [
        'tenant',
        'field',
        'payload',
        'key',
        'group',
        'line',
        'provider',
        'model',
        'code',
        'message',
        'stack',
        'detail',
      ],
    ],
    [`/jobs/${running}`, ['note', 'by', 'reason', 'tenant']],
    ['/batches', ['batcher', 'why']],
    [`/batches/${batch}`, ['batcher', 'tenant', 'group', 'code', 'why']],
  ];
};

it('is shown as text', async () => {
  for (const [path, places] of placesOf()) {
    const { status, text } = await admin.get(path);
    expect([path, status]).toEqual([path, 200]);
    expect(text).not.toMatch(/<script(?![^>]* src="\/assets)|<img|<b>/);
    expect(text).not.toMatch(/\sonerror=alert\(2\)(?!&gt;)/);
    for (const place of places) {
      expect([
        path,
        place,
        text.includes(`${place}&quot;&#39;&gt;&lt;script&gt;`) ||
          text.includes(`${place}\\&quot;&#39;&gt;&lt;script&gt;`),
      ]).toEqual([path, place, true]);
    }
  }
});

it('is in no address that a page leads to but as a value of a field', async () => {
  for (const [path] of placesOf()) {
    const { text } = await admin.get(path);
    for (const [, link = ''] of text.matchAll(/(?:href|action|src)="([^"]*)"/g)) {
      expect(link).toMatch(/^(?:[/#]|data:,$)/);
      expect(link).not.toMatch(/^\/\/|^\/\\/);
    }
  }
});

it('is in no page of an error', async () => {
  for (const path of [
    `/jobs?tenant=${encodeURIComponent(markup('x'))}`,
    `/jobs?${encodeURIComponent(markup('x'))}=1`,
    `/jobs/${encodeURIComponent(markup('x'))}`,
    `/jobs?state=${encodeURIComponent(markup('x'))}`,
  ]) {
    const { status, text } = await admin.get(path);
    expect([400, 404]).toContain(status);
    expect(text).not.toMatch(/<script(?![^>]* src="\/assets)|<img/);
  }
});

it('is no name of a job type', async () => {
  const type = {
    type: markup('type'),
    timeoutMs: 1,
    maxAttempts: 1,
    onBudget: 'park',
    giveUpAfterMs: 1,
    payloadSchema: {},
  } as const;
  await expect(registerJobTypes(fixture.database.system, [type])).rejects.toThrow('not allowed');
  expect(
    (await fixture.database.system`select from job_types where job_type = ${step}`).length,
  ).toBe(1);
});

it('every page of the navigation was looked at or is of others', () => {
  const looked = ['/now', '/jobs', '/failures', '/dead-letters'];
  expect(navigation.map(({ path }) => path)).toEqual(expect.arrayContaining(looked));
});
