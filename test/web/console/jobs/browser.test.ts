/** The pages about jobs in a real browser: by the keyboard, live, for everybody, and with nothing from elsewhere. */
import { mkdir } from 'node:fs/promises';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { addUpJobCounts } from '../../../../src/jobs/sweep.ts';
import { previewBatch } from '../../../../src/operations/batches/preview.ts';
import { sampleFleet } from '../../../../src/operations/now/sample.ts';
import { addOperators, by } from '../../access/access-fixture.ts';
import { exhausted, endedJob } from '../../../jobs/failures/ends.ts';
import { addJob, finish, jobRow, runningJob } from '../../../jobs/job-steps.ts';
import { startFixture } from '../../web-fixture.ts';
import type { WebFixture } from '../../web-fixture.ts';
import {
  accessibilityFaults,
  hasChromium,
  launchChromium,
  logInByKeys,
  openPage,
} from '../chromium.ts';
import { jobsOfEveryState } from './jobs-of-every-state.ts';
import type { JobsOfEveryState } from './jobs-of-every-state.ts';

let fixture: WebFixture;
let browser: Browser;
let jobs: JobsOfEveryState;
let batchId: string;
/** Where screenshots go, for people who look at them. */
const shots = process.env['PURSER_SCREENSHOTS'];

describe.skipIf(!hasChromium)('in chromium', () => {
  beforeAll(async () => {
    fixture = await startFixture();
    await addOperators(fixture);
    const { system } = fixture.database;
    jobs = await jobsOfEveryState(system, fixture.tenantId);
    for (let n = 0; n < 30; n += 1) {
      await endedJob(
        system,
        fixture.tenantId,
        exhausted('http_503', `the rates of ${n} are not there`),
      );
    }
    await addUpJobCounts(system);
    await sampleFleet(system);
    const preview = await previewBatch(system, by, { act: 'replay', filter: { code: 'http_503' } });
    ({ batchId } = preview);
    browser = await launchChromium();
    if (shots !== undefined) await mkdir(shots, { recursive: true });
  });
  afterAll(async () => {
    await browser.close();
    await fixture.close();
  });

  const paths = (): readonly string[] => [
    '/now',
    '/jobs',
    '/jobs?state=parked',
    '/jobs?code=nothing_like_it',
    `/jobs/${jobs.dead_letter}`,
    `/jobs/${jobs.running}`,
    '/failures',
    '/dead-letters',
    '/batches',
    `/batches/${batchId}`,
    '/jobs?state=wrong',
  ];

  const shoot = async (page: Page, name: string): Promise<void> => {
    if (shots === undefined) return;
    await page.screenshot({ path: `${shots}/${name}.png`, fullPage: true });
  };

  it('the pages ask no other host, and nothing of them is refused', async () => {
    const { context, page, faults } = await openPage(browser, fixture.url);
    await logInByKeys(page, 'the operator', '/now');
    for (const path of paths().filter((each) => !each.includes('wrong'))) {
      await page.goto(path);
      // The stream and what it makes the page load.
      await page.waitForResponse((response) => response.url() === page.url());
    }
    expect(faults).toEqual([]);
    await context.close();
  });

  it.each([
    ['light', { colorScheme: 'light', viewport: { width: 1280, height: 900 } }],
    ['dark', { colorScheme: 'dark', viewport: { width: 1280, height: 900 } }],
    ['phone', { colorScheme: 'light', viewport: { width: 360, height: 740 } }],
  ] as const)(
    'axe-core finds nothing (%s)',
    async (name, options) => {
      const { context, page } = await openPage(browser, fixture.url, {
        bypassCSP: true,
        ...options,
      });
      await logInByKeys(page, 'the operator', '/now');
      for (const [index, path] of paths().entries()) {
        await page.goto(path);
        expect([path, await accessibilityFaults(page)]).toEqual([path, []]);
        // The page itself does not scroll sideways; its tables do.
        const width = await page.evaluate('document.documentElement.scrollWidth');
        expect([path, width]).toEqual([path, options.viewport.width]);
        await shoot(page, `${name}-${index}`);
      }
      await context.close();
    },
    300_000,
  );

  it('a job is found and cancelled by the keyboard alone', async () => {
    const { system } = fixture.database;
    const jobId = await addJob(system, fixture.tenantId);
    const { context, page, faults } = await openPage(browser, fixture.url);
    page.on('dialog', (dialog) => void dialog.accept());
    await logInByKeys(page, 'the operator', '/jobs');
    await page.keyboard.press('Tab');
    expect(await focusOf(page)).toBe('Skip to the content');
    await page.keyboard.press('Enter');
    await page.keyboard.press('Tab');
    await page.keyboard.type(jobId);
    await Promise.all([page.waitForURL(`**/jobs/${jobId}`), page.keyboard.press('Enter')]);
    for (let presses = 0; (await focusOf(page)) !== 'reason'; presses += 1) {
      if (presses > 60) throw new Error('the reason was not reached');
      await page.keyboard.press('Tab');
    }
    await page.keyboard.type('by the keyboard');
    await page.keyboard.press('Tab');
    await Promise.all([page.waitForURL('**done=cancelled'), page.keyboard.press('Enter')]);
    expect(await page.getByRole('status').textContent()).toBe('The job is cancelled.');
    expect((await jobRow(system, jobId)).state).toBe('cancelled');
    expect(faults).toEqual([]);
    await context.close();
  });

  it('a page follows its job without being loaded, and keeps what somebody types', async () => {
    const { system } = fixture.database;
    const attempt = await runningJob(system, fixture.tenantId);
    const { context, page } = await openPage(browser, fixture.url);
    await logInByKeys(page, 'the operator', `/jobs/${attempt.jobId}`);
    await page.getByLabel('Reason').fill('half a senten');
    await page.evaluate("document.body.setAttribute('data-loaded', 'once')");
    await finish(system, attempt);
    await page.locator('#job .badge.good').first().waitFor();
    expect(await page.locator('#job .badge').first().textContent()).toBe('completed');
    expect(await page.getByLabel('Reason').inputValue()).toBe('half a senten');
    expect(await page.locator('body').getAttribute('data-loaded')).toBe('once');
    await context.close();
  });

  it('a hidden page has no stream, and one that is seen again has the news', async () => {
    const { system } = fixture.database;
    const attempt = await runningJob(system, fixture.tenantId);
    const { context, page } = await openPage(browser, fixture.url);
    await logInByKeys(page, 'the operator', `/jobs/${attempt.jobId}`);
    await page.waitForResponse((response) => response.url() === page.url());
    const failed = page.waitForEvent('requestfailed', (request) =>
      request.url().endsWith('/events'),
    );
    await show(page, false);
    await failed;
    await finish(system, attempt);
    const opened = page.waitForRequest('**/events');
    await show(page, true);
    await opened;
    await page.locator('#job .badge.good').first().waitFor();
    expect(await page.locator('#job .badge').first().textContent()).toBe('completed');
    await context.close();
  });

  it('a page of which the session ends leads to the login', async () => {
    const { context, page } = await openPage(browser, fixture.url);
    await logInByKeys(page, 'the viewer', '/now');
    await page.waitForResponse((response) => response.url() === page.url());
    await fixture.database.system`delete from operator_sessions where operator = 'the viewer'`;
    await addJob(fixture.database.system, fixture.tenantId);
    await page.waitForURL('**/login?next=%2Fnow');
    expect(await page.getByRole('heading', { level: 1 }).textContent()).toBe('Log in');
    await context.close();
  });

  it('every page works without scripts', async () => {
    const { context, page } = await openPage(browser, fixture.url, { javaScriptEnabled: false });
    await logInByKeys(page, 'the operator', '/now');
    await page
      .getByRole('link', { name: /^dead letter/ })
      .first()
      .click();
    await page.getByRole('link', { name: jobs.dead_letter, exact: true }).click();
    await page.getByRole('button', { name: 'Replay' }).click();
    await page.waitForURL('**done=replayed');
    expect(await page.getByRole('status').textContent()).toContain('runs the dead letter again');
    await context.close();
  });
});

// As texts: the types of a browser are not those of Node.

/** Its name, or its text. */
const focusOf = (page: Page): Promise<string> =>
  page.evaluate<string>(`(() => {
    const { activeElement } = document;
    return activeElement?.getAttribute('name') ?? activeElement?.textContent?.trim() ?? '';
  })()`);

/** As a browser tells a page whose tab is covered. */
const show = (page: Page, isShown: boolean): Promise<void> =>
  page.evaluate<void>(`(() => {
    Object.defineProperty(document, 'hidden', { configurable: true, value: ${!isShown} });
    document.dispatchEvent(new Event('visibilitychange'));
  })()`);
