/** The pages of money and of the fleet in a real browser: for everybody, by the keyboard, and with nothing from elsewhere. */
import { mkdir } from 'node:fs/promises';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { attemptOf, callOf } from '../../../budget/report/calls.ts';
import { addTenant } from '../../../support/tenants.ts';
import { addOperators } from '../../access/access-fixture.ts';
import { startFixture } from '../../web-fixture.ts';
import type { WebFixture } from '../../web-fixture.ts';
import {
  accessibilityFaults,
  hasChromium,
  launchChromium,
  logInByKeys,
  openPage,
} from '../chromium.ts';
import { arrangeFleet } from '../fleet/arranged.ts';
import { arrangeOrdinaryFleet } from '../fleet/ordinary.ts';

let fixture: WebFixture;
let browser: Browser;
let paths: readonly string[];
/** Where screenshots go, for people who look at them. */
const shots = process.env['PURSER_SCREENSHOTS'];

describe.skipIf(!hasChromium)('in chromium', { timeout: 180_000 }, () => {
  beforeAll(async () => {
    fixture = await startFixture();
    await addOperators(fixture);
    const { system } = fixture.database;
    const { tenantId, reservationId } = await arrangeOrdinaryFleet(system);
    paths = [
      '/tenants',
      `/tenants/${tenantId}`,
      '/money?by=tenant_type_and_model',
      '/money?month=2020-01',
      `/money/call?id=${reservationId}`,
      '/budgets',
      `/budgets/${tenantId}`,
      '/schedules',
      `/schedules?tenant=${tenantId}&done=paused`,
      '/workers',
      '/pauses?done=resumed',
      '/money?month=wrong',
    ];
    browser = await launchChromium();
    if (shots !== undefined) await mkdir(shots, { recursive: true });
  });
  afterAll(async () => {
    await browser.close();
    await fixture.close();
  });

  const shoot = async (page: Page, name: string): Promise<void> => {
    if (shots === undefined) return;
    await page.screenshot({ path: `${shots}/${name}.png`, fullPage: true });
  };

  it.each([
    ['light', { colorScheme: 'light', viewport: { width: 1280, height: 900 } }],
    ['dark', { colorScheme: 'dark', viewport: { width: 1280, height: 900 } }],
    ['phone', { colorScheme: 'light', viewport: { width: 360, height: 740 } }],
  ] as const)(
    'axe-core finds nothing, and no page scrolls sideways (%s)',
    async (name, options) => {
      const { context, page } = await openPage(browser, fixture.url, {
        bypassCSP: true,
        ...options,
      });
      await logInByKeys(page, 'the operator', '/tenants');
      for (const [index, path] of paths.entries()) {
        await page.goto(path);
        await page.evaluate(openAll);
        await shoot(page, `${name}-${index}`);
        expect([path, await accessibilityFaults(page)]).toEqual([path, []]);
        // The page itself does not scroll sideways; its tables do.
        const width = await page.evaluate('document.documentElement.scrollWidth');
        expect([path, width]).toEqual([path, options.viewport.width]);
      }
      await context.close();
    },
  );

  it('the pages ask no other host, and nothing of them is refused, also where texts are markup', async () => {
    const { tenantId, reservationId } = await arrangeFleet(fixture.database.system);
    const marked = encodeURIComponent(tenantId);
    const { context, page, faults } = await openPage(browser, fixture.url);
    page.on('dialog', (dialog) => {
      faults.push(`dialog ${dialog.message()}`);
      void dialog.dismiss();
    });
    await logInByKeys(page, 'the operator', '/tenants');
    const more = [`/tenants/${marked}`, `/budgets/${marked}`, `/money/call?id=${reservationId}`];
    for (const path of [...paths, ...more].filter((each) => !each.includes('wrong'))) {
      await page.goto(path, { waitUntil: 'load' });
    }
    expect(faults).toEqual([]);
    await context.close();
  });

  it('a budget is topped up, and a call of unknown cost resolved, by the keyboard alone', async () => {
    const { system } = fixture.database;
    const tenantId = await addTenant(system, { limitUsd: '10' });
    const attempt = await attemptOf(system, tenantId, 'by_keys');
    await callOf(system, attempt, { hold: '1' });
    const { context, page, faults } = await openPage(browser, fixture.url);
    page.on('dialog', (dialog) => void dialog.accept());
    await logInByKeys(page, 'the operator', `/budgets/${tenantId}`);
    await tabTo(page, 'usd', 2);
    await page.keyboard.type('2.5');
    await page.keyboard.press('Tab');
    await page.keyboard.type('asked for by phone');
    await page.keyboard.press('Tab');
    await Promise.all([page.waitForURL('**done=topped_up'), page.keyboard.press('Enter')]);
    expect(await page.getByRole('status').textContent()).toContain('added to this month alone');
    expect(await page.locator('dl').first().textContent()).toContain('$2.50');

    await page.goto(`/money?tenant=${tenantId}`);
    await tabTo(page, 'Resolve', 1);
    await Promise.all([page.waitForURL('**/money/call?id=*'), page.keyboard.press('Enter')]);
    await tabTo(page, 'usd', 1);
    await page.keyboard.type('0.25');
    await page.keyboard.press('Tab');
    await page.keyboard.type('invoice 7 line 3');
    await page.keyboard.press('Tab');
    await page.keyboard.type('invoice of May');
    await page.keyboard.press('Tab');
    await Promise.all([page.waitForURL('**done=settled'), page.keyboard.press('Enter')]);
    await page.goto(`/money?tenant=${tenantId}`);
    expect(await page.locator('dl').first().textContent()).toContain('$0.25');
    expect(faults).toEqual([]);
    await context.close();
  });

  it('an act on a row opens and is sent without scripts', async () => {
    const { context, page } = await openPage(browser, fixture.url, { javaScriptEnabled: false });
    await logInByKeys(page, 'the operator', '/pauses');
    const rows = page.getByRole('row').filter({ hasText: 'job type nightly_report' });
    await rows.locator('summary').click();
    await rows.getByLabel('Reason').fill('over');
    await rows.getByRole('button', { name: 'Resume' }).click();
    await page.waitForURL('**done=resumed');
    expect(await rows.count()).toBe(0);
    await context.close();
  });
});

/** The forms of rows. As a text: the types of a browser are not those of Node. */
const openAll = `for (const each of document.querySelectorAll('details')) each.open = true`;

/** Presses Tab until the `nth` element of this name, or with this text, has the focus. */
async function tabTo(page: Page, name: string, nth: number): Promise<void> {
  let met = 0;
  for (let presses = 0; presses < 80; presses += 1) {
    await page.keyboard.press('Tab');
    const focus = await page.evaluate<string>(`(() => {
      const { activeElement } = document;
      return activeElement?.getAttribute('name') ?? activeElement?.textContent?.trim() ?? '';
    })()`);
    if (focus === name) met += 1;
    if (met === nth) return;
  }
  throw new Error(`${name} was not reached`);
}
