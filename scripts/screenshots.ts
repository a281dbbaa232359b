/**
 * The screenshots of docs/img: the demo's data and some jobs of a made-up product, in an embedded Postgres of its own,
 * with a whole fleet, seen by a real browser. Needs dist/ and chromium.
 * Usage: npm run screenshots -- [--to DIR]
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import type { Page } from 'playwright-core';
import { connect } from '../src/db/connect.ts';
import type { Sql } from '../src/db/connect.ts';
import { startEmbeddedPostgres } from '../src/db/embedded/embedded.ts';
import { endChild, freePort, track } from '../test/support/children.ts';
import { launchChromium } from '../test/web/console/chromium.ts';
import { addCalls, addDayBefore, addWork } from './screenshots/data.ts';

const { values } = parseArgs({ options: { to: { type: 'string', default: 'docs/img' } } });
const login = { DASHBOARD_USER: 'kim', DASHBOARD_PASSWORD: 'a password of one evening' };
const viewport = { width: 1280, height: 1000 };

function purser(args: readonly string[], env: Record<string, string> = {}): ChildProcess {
  const { PATH = '', HOME = '' } = process.env;
  const child = spawn(process.execPath, ['dist/cli/main.js', ...args], {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { PATH, HOME, LOG_LEVEL: 'fatal', ...env },
  });
  track(child);
  return child;
}

async function untilTrue(
  what: string,
  look: () => Promise<readonly { readonly done: boolean }[]>,
): Promise<void> {
  for (const endsAt = Date.now() + 120_000; Date.now() < endsAt; await sleep(300)) {
    const [row] = await look();
    if (row?.done === true) return;
  }
  throw new Error(`after two minutes it is not so that ${what}`);
}

/** At most 200 KB, because they are in the repository. */
async function shoot(page: Page, name: string, height = viewport.height): Promise<void> {
  const { width } = viewport;
  // The whole of a short page, and not the space below it.
  const end = await page.evaluate<number>(
    'document.querySelector("main").getBoundingClientRect().bottom',
  );
  await page.screenshot({
    path: join(values.to, `${name}.png`),
    fullPage: true,
    clip: { x: 0, y: 0, width, height: Math.min(height, Math.ceil(end)) },
  });
}

async function walk(url: string, sql: Sql): Promise<void> {
  const browser = await launchChromium();
  const open = async (colorScheme: 'light' | 'dark'): Promise<Page> => {
    const context = await browser.newContext({
      baseURL: url,
      colorScheme,
      viewport,
    });
    const page = await context.newPage();
    await page.goto('/login');
    await page.getByLabel('Name').fill(login.DASHBOARD_USER);
    await page.getByLabel('Password').fill(login.DASHBOARD_PASSWORD);
    await page.getByRole('button', { name: 'Log in' }).click();
    await page.waitForURL('**/now');
    return page;
  };
  const page = await open('light');
  const pages: Record<string, string> = {
    now: '/now',
    jobs: '/jobs',
    failures: '/failures',
    'dead-letters': '/dead-letters',
    tenants: '/tenants',
    money: '/money?by=tenant_and_model',
  };
  for (const [name, path] of Object.entries(pages)) {
    await page.goto(path);
    await shoot(page, name);
  }
  const [letter] = await sql<{ id: string }[]>`
    select max(job_id)::text as id from purser.dead_letters where job_type = 'send_invoice' and error_code = 'rate_missing'`;
  await page.goto(`/jobs/${letter?.id}`);
  await shoot(page, 'job');
  await batch(page, sql);
  const dark = await open('dark');
  for (const name of ['now', 'money']) {
    await dark.goto(pages[name] ?? '');
    await shoot(dark, `${name}-dark`);
  }
  await browser.close();
}

/** From the dead letters of one error to a batch that is half-way. */
async function batch(page: Page, sql: Sql): Promise<void> {
  await page.goto('/dead-letters?code=http_503');
  await page.getByRole('button', { name: 'Preview a batch' }).click();
  await page.waitForURL('**done=previewed');
  // With the form that starts it.
  await shoot(page, 'batch-preview', 1_150);
  await page.getByLabel('Jobs a second').fill('8');
  await page.getByLabel('Reason').fill('the archive is back');
  page.once('dialog', (dialog) => void dialog.accept());
  await page.getByRole('button', { name: /^Start/ }).click();
  await page.waitForURL('**done=started');
  await untilTrue(
    'the batch is half-way',
    () => sql<{ done: boolean }[]>`
      select done > 60 as done from purser.batches order by id desc limit 1`,
  );
  await page.reload();
  await shoot(page, 'batch');
}

const isReady = async (url: string): Promise<{ done: boolean }[]> => {
  const answer = await fetch(`${url}/readyz`).catch(() => undefined);
  return [{ done: answer?.status === 200 }];
};

async function main(): Promise<void> {
  await mkdir(values.to, { recursive: true });
  const folder = await mkdtemp(join(tmpdir(), 'purser-screenshots-'));
  // Postgres does not run as root; the user that it runs as needs access to the folder.
  await chmod(folder, 0o711);
  const dataDir = join(folder, 'data');
  try {
    const demo = purser(['demo', '--once', '--port', '0', '--data', dataDir]);
    await once(demo, 'exit');
    if (demo.exitCode !== 0) throw new Error(`the demo ended with ${demo.exitCode}`);
    const postgres = await startEmbeddedPostgres({ dataDir });
    const sql = connect(postgres.url, { max: 2, applicationName: 'purser screenshots' });
    const port = await freePort();
    const fleet = { child: undefined as ChildProcess | undefined };
    try {
      await addCalls(sql);
      await addDayBefore(sql);
      fleet.child = purser(['start', 'all'], {
        ...login,
        DATABASE_URL: postgres.url,
        PURSER_HANDLERS: 'scripts/screenshots/handlers.mjs',
        PURSER_DATA_DIR: dataDir,
        PORT: String(port),
      });
      const url = `http://127.0.0.1:${port}`;
      await untilTrue('the web role is ready', () => isReady(url));
      const letters = await addWork(sql);
      await untilTrue(
        'the jobs have ended and were sampled',
        () => sql<{ done: boolean }[]>`
          select (select count(*) from purser.dead_letters where job_type = 'send_invoice') = ${letters}
            and not exists (select from purser.waiting where job_type = 'send_invoice')
            and (select max(taken_at) from purser.fleet_samples) > now() - interval '10 seconds' as done`,
      );
      await walk(url, sql);
    } finally {
      if (fleet.child !== undefined) await endChild(fleet.child, 'SIGTERM');
      await sql.end({ timeout: 5 });
      await postgres.stop();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

await main();
