/** A real browser: Debian's chromium by playwright-core, which downloads nothing. */
import { existsSync } from 'node:fs';
import axe from 'axe-core';
import { chromium } from 'playwright-core';
import type { Browser, BrowserContext, BrowserContextOptions, Page } from 'playwright-core';
import { password } from '../access/access-fixture.ts';

const executablePath = process.env['CHROMIUM'] ?? '/usr/bin/chromium';

export const hasChromium = existsSync(executablePath);

export const launchChromium = (): Promise<Browser> =>
  chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu'] });

export interface Watched {
  readonly context: BrowserContext;
  readonly page: Page;
  /** Requests to other hosts, refusals of the policy, and errors of scripts. */
  readonly faults: string[];
}

export async function openPage(
  browser: Browser,
  url: string,
  options: BrowserContextOptions = {},
): Promise<Watched> {
  const context = await browser.newContext({ baseURL: url, ...options });
  const page = await context.newPage();
  const faults: string[] = [];
  page.on('request', (request) => {
    const asked = new URL(request.url());
    if (asked.protocol !== 'data:' && asked.origin !== url) faults.push(`request ${asked.href}`);
  });
  page.on('console', (message) => {
    if (message.type() === 'error') faults.push(`console ${message.text()}`);
  });
  page.on('pageerror', (error) => faults.push(`error ${error.message}`));
  return { context, page, faults };
}

/** By the keyboard alone. */
export async function logInByKeys(page: Page, name: string, path: string): Promise<void> {
  await page.goto(path);
  // A busy browser focuses it after the page has loaded.
  await page.locator('input[name="user"]:focus').waitFor();
  await page.keyboard.type(name);
  await page.keyboard.press('Tab');
  await page.keyboard.type(password);
  await Promise.all([
    page.waitForURL((url) => url.pathname !== '/login'),
    page.keyboard.press('Enter'),
  ]);
}

/** What axe-core finds on the page, as lines. The context needs `bypassCSP`: the policy lets nobody add a script. */
export async function accessibilityFaults(page: Page): Promise<string[]> {
  await page.addScriptTag({ content: axe.source });
  const { violations } = await page.evaluate<axe.AxeResults>('axe.run()');
  return violations.flatMap(({ id, nodes }) =>
    nodes.map(({ html, failureSummary = '' }) => `${id}: ${html.slice(0, 200)} ${failureSummary}`),
  );
}
