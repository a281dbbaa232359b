/** `purser demo` on an embedded Postgres, with generated data and with a file; no process stays behind. */
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { focusFileWith } from '../costs/exports/focus/file.ts';
import { freshDatabase } from '../support/database.ts';
import { runCli, startCli } from '../support/process.ts';
import { fileTitle, hasRealFile, writeCostFile } from './cost-file.ts';
import { untilNoneRunsIn } from './fleet.ts';

let folder: string;
let data: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'purser-demo-'));
  // Postgres does not run as root; the user that it runs as needs access to the folder.
  await chmod(folder, 0o711);
  data = join(folder, 'data');
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const ended = (text: string): string | undefined => /jobs: (.*)$/m.exec(text)?.[1];
const hour = (): number => Math.floor(Date.now() / 3_600_000);

it('prints its table with one refused tenant; a second run adds no job and stops on Ctrl-C', async () => {
  const args = ['demo', '--data', data, '--port', '0'];
  for (;;) {
    const startedIn = hour();
    const once = await runCli([...args, '--once'], { timeoutMs: 110_000 });
    expect(once).toMatchObject({ code: 0 });
    await untilNoneRunsIn(folder);
    const table = once.stdout.split('\n').filter((line) => /^\d{12} {2}/.test(line));
    expect(table).toHaveLength(12);
    expect(table.filter((line) => line.includes('refused: 402 budget_exceeded'))).toHaveLength(1);
    expect(table.filter((line) => line.includes('Offline statistical analysis:'))).toHaveLength(11);
    expect(once.stdout).toMatch(
      /^refused \(402\): tenant \d+ needs \$[\d.]+ but has a monthly limit of \$0/m,
    );
    expect(once.stdout).toContain('No LLM was called');
    expect(ended(once.stdout)).toMatch(/^\d+ completed, 1 (dead_letter|parked)$/);

    const second = startCli(args);
    await second.waitForLine(/The fleet keeps running/, { timeoutMs: 110_000 });
    const address = await second.waitForLine(/^dashboard: http/);
    const exported = await second.waitForLine(/^ {2}export DATABASE_URL=/);
    const words = [...exported.matchAll(/(\w+)=(?:'([^']*)'|(\S+))/g)];
    const env = Object.fromEntries(words.map(([, name, a, b]) => [name, a ?? b]));
    const other = await runCli(['tenants', 'list', '--json'], { env });
    expect(JSON.parse(other.stdout)).toHaveLength(12);
    const health = await fetch(new URL('/healthz', /http:\S+/.exec(address)?.[0]));
    expect(health.status).toBe(200);
    second.signal('SIGINT');
    expect(await second.waitForExit()).toMatchObject({ code: 0 });
    await untilNoneRunsIn(folder);
    // A tick of the schedules between the two runs makes new jobs.
    if (hour() !== startedIn) continue;
    expect(ended(second.stdout.join('\n'))).toBe(ended(once.stdout));
    break;
  }
}, 240_000);

it('--once ends with exit code 1 and the reasons when rows of the file were left out', async () => {
  const path = join(folder, 'faulty.csv');
  const columns = { SubAccountId: 'good' };
  const rows = [
    { ...columns, BilledCost: '1' },
    { ...columns, BilledCost: 'one' },
    { ...columns, BilledCost: '70', BillingCurrency: 'EUR' },
    { ...columns, BilledCost: '7.5', BillingCurrency: 'EUR' },
    { SubAccountId: '1.23457E+12' },
    { SubAccountId: 'bad', BilledCost: 'one' },
  ];
  await writeFile(path, focusFileWith(['SubAccountId'], rows));
  const args = ['demo', '--once', '--port', '0', '--data', data, '--focus', path];
  const { code, stderr, stdout } = await runCli(args, { timeoutMs: 110_000 });
  // No rate is known, so currencies are not added up.
  expect(stdout).toMatch(/^good +\w+ +1 /m);
  expect(stdout).toContain('billed cost $1 and 77.5 EUR; jobs');
  expect(stderr).toMatch(
    /^tenant good: 1 row was left out, the first at line 3: BilledCost: "one"/m,
  );
  expect(stderr).toMatch(/^tenant bad: the file was not ingested: none of the 1 rows/m);
  expect(stderr).toMatch(/^1 rows belong to no tenant/m);
  expect(stderr).not.toContain('no row of the file was ingested');
  expect(code).toBe(1);
}, 120_000);

it(`--json prints one line that describes ${fileTitle}`, async () => {
  const path = join(folder, 'export.csv');
  const file = await writeCostFile(path);
  const args = ['demo', '--once', '--json', '--port', '0', '--data', data, '--focus', path];
  const { code, stdout } = await runCli(args, { timeoutMs: 110_000 });
  expect(code).toBe(0);
  expect(stdout.split('\n')).toHaveLength(1);
  const expected = hasRealFile
    ? { tenants: 44, rowsIngested: 589, billedCostUsd: '20.15098394973' }
    : { tenants: file.tenants.length, rowsIngested: file.rows };
  const state: {
    jobs: Record<string, number>;
    refused: { tenantId: string; code: number }[];
    llm: { calls: number; provider: string };
  } = JSON.parse(stdout);
  expect(state).toMatchObject({
    ...expected,
    billedCostUsd: file.billedCostUsd,
    llm: { provider: 'offline analyst', reservedUsd: '0' },
    queueBackend: 'postgres',
  });
  expect(state.refused).toMatchObject([{ code: 402 }]);
  expect(state.llm.calls).toBe(file.tenants.length - 1);
  expect(Object.values(state.jobs).reduce((sum, count) => sum + count, 0)).toBe(
    2 * file.tenants.length,
  );
  await untilNoneRunsIn(folder);
}, 120_000);

it('writes into the database of DATABASE_URL only with --here', async () => {
  const database = await freshDatabase();
  try {
    const env = { DATABASE_URL: database.url };
    const path = join(folder, 'empty.csv');
    await writeFile(path, focusFileWith(['SubAccountId'], []));
    const args = ['demo', '--once', '--port', '0', '--focus', path];
    const refused = await runCli(args, { env });
    expect([refused.code, refused.stdout]).toEqual([64, '']);
    expect(refused.stderr).toMatch(/^purser: DATABASE_URL is set: the demo would .*\n.*--here/);
    expect(refused.stderr).not.toContain(new URL(database.url).password);
    const { code, stderr } = await runCli([...args, '--here'], { env, timeoutMs: 60_000 });
    expect(stderr).toContain('no row of the file was ingested: it has a header and no rows');
    expect(code).toBe(1);
    expect(await database.sql`select from tenants`).toEqual([]);
  } finally {
    await database.close();
  }
}, 120_000);
