/**
 * An operator's evening in a real browser, with a whole fleet, on both backends: 4,000 dead letters are found, read,
 * previewed and replayed at a pace, stopped, resumed and undone, and every act is on record.
 */
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { navigation } from '../../../src/web/console/navigation.ts';
import { startRedis } from '../../support/redis.ts';
import type { TestRedis } from '../../support/redis.ts';
import { redisAvailable } from '../../support/redis-binary.ts';
import {
  accessibilityFaults,
  hasChromium,
  launchChromium,
  logInByKeys,
  openPage,
} from './chromium.ts';
import { letters, startEveningFleet, until } from './evening/fleet.ts';
import type { EveningFleet } from './evening/fleet.ts';
import { pressUntil } from './evening/keys.ts';
import { password } from '../access/access-fixture.ts';

const pace = 50;

for (const isOnRedis of [false, true]) {
  describe.skipIf(!hasChromium || (isOnRedis && !redisAvailable))(
    `with the queues in ${isOnRedis ? 'Redis' : 'Postgres'}`,
    { timeout: 300_000 },
    () => {
      let redis: TestRedis | undefined;
      let fleet: EveningFleet;
      let browser: Browser;
      beforeAll(async () => {
        if (isOnRedis) redis = await startRedis();
        fleet = await startEveningFleet(redis?.url);
        browser = await launchChromium();
      }, 300_000);
      afterAll(async () => {
        await browser.close();
        await fleet.close();
        await redis?.stop();
      }, 60_000);

      it('4,000 dead letters are replayed at a pace, stopped, resumed and undone', async () => {
        const { context, page, faults } = await openPage(browser, fleet.url);
        page.on('dialog', (dialog) => void dialog.accept());
        await logIn(page);
        const batchId = await findAndStart(page, fleet);
        await stopAndResume(page, fleet, batchId);
        await undo(page, fleet, batchId);
        await readAudit(page, batchId);
        expect(faults).toEqual([]);
        await context.close();
      });

      it('dead letters are discarded by the keyboard alone', async () => {
        const { batch, faults } = await discardByKeys(browser, fleet);
        expect(batch).toMatchObject({ act: 'discard', per_second: 51, done: 2, by: 'kim' });
        expect(faults).toEqual([]);
      });

      it.skipIf(isOnRedis).each([
        ['light', { colorScheme: 'light', viewport: { width: 1280, height: 900 } }],
        ['dark', { colorScheme: 'dark', viewport: { width: 1280, height: 900 } }],
        ['phone', { colorScheme: 'light', viewport: { width: 360, height: 740 } }],
      ] as const)('axe-core finds nothing on a page of the navigation (%s)', async (_, options) => {
        const watched = await openPage(browser, fleet.url, { bypassCSP: true, ...options });
        const { context, page } = watched;
        await logInByKeys(page, 'kim', '/now');
        for (const { path } of navigation.filter((entry) => entry.path !== '/queues')) {
          await page.goto(path);
          expect([path, await accessibilityFaults(page)]).toEqual([path, []]);
        }
        await context.close();
      });

      it('no page of the navigation asks another host, breaks the policy or fails', async () => {
        const { context, page, faults } = await openPage(browser, fleet.url);
        await logInByKeys(page, 'kim', '/now');
        for (const { path } of navigation) {
          const answer = await page.goto(path, { waitUntil: 'load' });
          expect([path, answer?.status()]).toEqual([path, 200]);
        }
        expect(faults).toEqual([]);
        await context.close();
      });
    },
  );
}

async function logIn(page: Page): Promise<void> {
  await page.goto('/');
  await page.getByLabel('Name').fill('lee');
  await page.getByLabel('Password').fill(password);
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.waitForURL('**/now');
}

const go = (page: Page, name: string): Promise<void> =>
  page.getByRole('navigation', { name: 'Pages' }).getByRole('link', { name, exact: true }).click();

async function act(page: Page, name: RegExp, reason: string, leadsTo: string): Promise<void> {
  const form = page.locator('form').filter({ has: page.getByRole('button', { name }) });
  await form.getByLabel('Reason').fill(reason);
  await form.getByRole('button', { name }).click();
  await page.waitForURL(`**done=${leadsTo}`);
}

/** From the failures to a running batch. Edits one payload on its way. */
async function findAndStart(page: Page, fleet: EveningFleet): Promise<string> {
  await go(page, 'Failures');
  const cause = page.getByRole('row').filter({ hasText: 'no_recipient' });
  await cause.getByRole('link', { name: '3', exact: true }).click();
  await page.getByRole('link', { name: fleet.tenantId, exact: true }).first().click();
  const [wrong = ''] = fleet.wrongJobs;
  await page.goto(`/dead-letters?code=no_recipient&tenant=${fleet.tenantId}`);
  await page.getByRole('link', { name: wrong, exact: true }).click();
  expect(await page.locator('.notice.bad').textContent()).toBe(
    'no_recipient: nobody has this address',
  );
  await page.getByText('Replay with another payload').click();
  await page.getByLabel(/^Payload/).fill('{"days": 7, "to": "somebody"}');
  await act(page, /^Replay with this payload/, 'a typing error', 'edited');
  await page.locator('#job .badge', { hasText: 'completed' }).first().waitFor();

  await fleet.mendArchive();
  await go(page, 'Dead letters');
  await page.getByLabel('Error code').fill('http_503');
  await page.getByRole('button', { name: 'Show' }).click();
  await page.waitForURL('**code=http_503**');
  await page.getByRole('button', { name: 'Preview a batch' }).click();
  await page.waitForURL('**done=previewed');
  const preview = (await page.locator('#batch').textContent()) ?? '';
  for (const text of ['previewed', 'code http_503', 'Jobs4,000', 'Tenants5']) {
    expect(preview).toContain(text);
  }
  const batchId = /batches\/(\d+)/.exec(page.url())?.[1] ?? '';
  expect(await countReplays(fleet, batchId)).toBe(0);
  await page.getByLabel('Jobs a second').fill(String(pace));
  await act(page, /^Start/, 'the archive is back', 'started');
  return batchId;
}

const countReplays = async ({ sql }: EveningFleet, batchId: string): Promise<number> =>
  (await sql`select from jobs where origin->>'batch' = ${batchId}`).length;

async function stopAndResume(page: Page, fleet: EveningFleet, batchId: string): Promise<void> {
  await until('a hundred were replayed', async () => (await countReplays(fleet, batchId)) >= 100);
  // The page follows by itself.
  await page.getByText(/[1-9]\d* done/).waitFor();
  await act(page, /^Stop/, 'half for now', 'stopped');
  expect(await page.locator('#batch .badge').textContent()).toBe('stopped');
  const atStop = await countReplays(fleet, batchId);
  const { sql } = fleet;
  const made = await sql<{ at: number }[]>`
    select extract(epoch from created_at)::float8 as at from jobs where origin->>'batch' = ${batchId} order by id`;
  expect(tooFast(made.map(({ at }) => at))).toEqual([]);
  expect(atStop).toBeLessThan(letters / 2);
  expect(await countReplays(fleet, batchId)).toBe(atStop);
  await page.getByLabel('Jobs a second').fill('400');
  await act(page, /^Resume/, 'go on', 'resumed');
  await until('half of them were replayed', async () => {
    return (await countReplays(fleet, batchId)) >= letters / 2;
  });
}

/** Windows with more replays than the pace allows: it may catch up a quarter of a second, and a step takes a moment. */
function tooFast(times: readonly number[]): string[] {
  return times.flatMap((from, first) =>
    times.slice(first).flatMap((to, more) => {
      const allowed = (to - from + 0.5) * pace + 1;
      return more + 1 > allowed ? [`${more + 1} in ${to - from} s`] : [];
    }),
  );
}

async function undo(page: Page, fleet: EveningFleet, batchId: string): Promise<void> {
  const { sql } = fleet;
  await act(page, /^Undo/, 'tomorrow', 'undone');
  await page.locator('#batch .badge', { hasText: 'undone' }).waitFor({ timeout: 120_000 });
  const [of] = await sql<{ done: number; undone: number; skipped: number; freed: number }[]>`
    select done, undone, skipped, (select count(*)::int from jobs
      where origin->>'batch' = ${batchId} and end_detail ? 'undone_replay_of' and replay_of is null) as freed
    from purser.batches where id = ${batchId}`;
  const { done = 0, undone = 0, skipped, freed } = of ?? {};
  expect([done + undone, skipped]).toEqual([letters, 0]);
  // Both what was never replayed and what was, and had not begun.
  expect(undone).toBeGreaterThan(freed ?? 0);
  expect(freed).toBeGreaterThan(0);
  expect(await page.locator('#batch').textContent()).toContain(
    `${done.toLocaleString('en-US')} done, 0 skipped, ${undone.toLocaleString('en-US')} undone`,
  );
  const listed = await sql`select from purser.dead_letters where error_code = 'http_503'`;
  expect(listed).toHaveLength(undone);
  const twice =
    await sql`select from jobs where replay_of is not null group by replay_of having count(*) > 1`;
  expect(twice).toHaveLength(0);
  await until('what had begun has ended', async () => {
    const [row] = await sql<{ completed: number }[]>`
      select count(*)::int as completed from jobs
      where origin->>'batch' = ${batchId} and outcome = 'completed' and replay_of is not null`;
    return row?.completed === done;
  });
}

async function readAudit(page: Page, batchId: string): Promise<void> {
  await go(page, 'Audit');
  const rows = page.locator('tbody tr');
  const target = `"batchId":"${batchId}"`;
  for (const [name, reason, about] of [
    ['replay_edited', 'a typing error', ''],
    ['batch_preview', '', target],
    ['batch_start', 'the archive is back', target],
    ['batch_stop', 'half for now', target],
    ['batch_resume', 'go on', target],
    ['batch_undo', 'tomorrow', target],
    ['batch_end', 'tomorrow', target],
  ] as const) {
    const row = rows.filter({ has: page.getByRole('cell', { name, exact: true }) });
    expect([name, await row.count()]).toEqual([name, 1]);
    const text = (await row.textContent()) ?? '';
    expect(text).toContain('leesession, console');
    expect(text).toContain(reason);
    expect(text).toContain(about);
  }
}

async function discardByKeys(browser: Browser, fleet: EveningFleet) {
  const { context, page, faults } = await openPage(browser, fleet.url);
  page.on('dialog', (dialog) => void dialog.accept());
  await logInByKeys(page, 'kim', '/dead-letters?code=no_recipient');
  await pressUntil(page, 'act');
  await page.keyboard.press('ArrowDown');
  await pressUntil(page, 'Preview a batch');
  await Promise.all([page.waitForURL('**done=previewed'), page.keyboard.press('Enter')]);
  await pressUntil(page, 'perSecond');
  await page.keyboard.press('ArrowUp');
  await pressUntil(page, 'reason');
  await page.keyboard.type('nobody waits for these');
  await pressUntil(page, 'Start');
  await Promise.all([page.waitForURL('**done=started'), page.keyboard.press('Enter')]);
  await page.locator('#batch .badge', { hasText: 'completed' }).waitFor();
  const [batch] = await fleet.sql`
    select act, per_second, done, by from purser.batches order by id desc limit 1`;
  await context.close();
  return { batch, faults };
}
