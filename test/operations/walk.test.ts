/** Every command that changes something for an operator leaves one row of who did what, with the values before and after. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { listActs } from '../../src/operations/audit.ts';
import type { ActRow } from '../../src/operations/audit.ts';
import { callAt } from '../budget/reconcile/ledger-calls.ts';
import { curFile } from '../costs/exports/aws-cur/file.ts';
import { invokeWith } from '../cli/in-process.ts';
import type { Invoke } from '../cli/in-process.ts';
import { arrangeForOperator, keys, walkedCommands } from '../cli/locks/walked-commands.ts';
import type { ForOperator } from '../cli/locks/walked-commands.ts';
import { addWalkedTypes } from '../scheduler/arranged-tenant.ts';
import { expectedActs, noActs } from './expected-acts.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';

const canary = 'canary-7d1f-of-a-secret';

let test: TestDatabase;
let tenant: ForOperator;
let folder: string;
let file: string;
let invoke: Invoke;
beforeAll(async () => {
  test = await freshDatabase();
  await addWalkedTypes(test.sql);
  tenant = await arrangeForOperator(test.sql);
  const { tenantId, toReplay, toDiscard, toCancel } = tenant;
  await test.sql`
    update background_jobs set payload = ${JSON.stringify({ note: canary })}::text::jsonb
    where id = any(${[toReplay, toDiscard, toCancel]}::bigint[])`;
  await test.sql`
    insert into llm_budget_periods (budget_id, period_start, tenant_id)
    select id, '2020-01-01', tenant_id from llm_budgets where tenant_id = ${tenantId}`;
  // One that is still there when the keys are rotated.
  await test.sql`
    insert into aws_accounts (tenant_id, account_id, credentials, encryption_key_version)
    select tenant_id, '000000000003', credentials, encryption_key_version from aws_accounts`;
  // Of the arranged process, which is not there.
  await test.sql`delete from heartbeats where process_id not like 'worker-of-%'`;
  folder = await mkdtemp(join(tmpdir(), 'purser-acts-'));
  file = join(folder, 'cur.csv');
  await writeFile(file, curFile([{}, { 'lineItem/UnblendedCost': '2' }]));
  invoke = invokeWith({ DATABASE_URL: test.url, TENANT_DATABASE_URL: test.tenantUrl, ...keys }, [
    Buffer.from(canary),
  ]);
});
afterAll(async () => {
  await rm(folder, { recursive: true });
  await test.close();
});

const newest = async (): Promise<ActRow | undefined> => (await listActs(test.sql, { limit: 1 }))[0];

it('every mutating command of the walk writes one row, by its operator, with before and after', async () => {
  const expected = new Map(Object.entries(expectedActs).map(([path, acts]) => [path, [...acts]]));
  const changing = walkedCommands.filter(({ path, reads }) => reads !== true && !(path in noActs));
  for (const { path, args } of changing) {
    const lastId = (await newest())?.id ?? '0';
    const given = args?.(tenant, file) ?? [];
    const why = given.includes('--reason') ? [] : ['--reason', 'asked for'];
    const words = [...path.split(' '), ...given, ...why, '--by=alice'];
    const outcome = await invoke(...words);
    expect([path, outcome.code, outcome.code === 0 ? '' : outcome.err]).toEqual([path, 0, '']);
    const rows = await listActs(test.sql, { limit: 10 });
    const added = rows.filter(({ id }) => BigInt(id) > BigInt(lastId));
    const { act, before, after, followedBy = [] } = expected.get(path)?.shift() ?? {};
    const first = added.at(-1);
    expect
      .soft([path, ...added.map((row) => row.act).toReversed()])
      .toEqual([path, act, ...followedBy]);
    expect.soft(first, path).toMatchObject({
      name: 'alice',
      proof: 'asserted',
      door: 'cli',
      host: hostname(),
      reason: words[words.indexOf('--reason') + 1],
      before,
      after,
    });
    // Where the command names the tenant, the row does.
    const isAboutTenant = given.includes(tenant.tenantId);
    const about = isAboutTenant ? tenant.tenantId : first?.tenantId;
    expect.soft([path, first?.tenantId]).toEqual([path, about]);
  }
  expect([...expected].filter(([, acts]) => acts.length > 0)).toEqual([]);
}, 120_000);

it('the rows name the jobs, so that the acts on a job are found by its id', async () => {
  const { tenantId, toReplay, toCancel } = tenant;
  const [replayed] = await listActs(test.sql, { jobId: toReplay, limit: 10 });
  expect(replayed).toMatchObject({ act: 'replay', tenantId, jobType: 'test_step' });
  const newJob = replayed?.jobIds?.[1] ?? '';
  expect((await listActs(test.sql, { jobId: newJob, limit: 10 })).map(({ act }) => act)).toEqual([
    'replay',
  ]);
  const shown = await invoke('audit', '--job', toCancel);
  expect(shown.out).toMatch(/alice +cli, asserted on .* +cancel .*walk/);
});

it('reconcile --apply writes a row for each cost that it records, and none when it is repeated', async () => {
  const sentAt = new Date().toISOString();
  const reservationId = await callAt(test.sql, { sentAt });
  const log = join(folder, 'calls.csv');
  const head =
    'client_request_id,request_id,timestamp,model,prompt_tokens,completion_tokens,cost_usd';
  await writeFile(log, `${head}\n${reservationId},req_1,${sentAt},plain,100,100,0.0006\n`);
  const apply = [
    '--provider',
    'openai',
    '--file',
    log,
    '--apply',
    '--reason',
    'log',
    '--by',
    'fay',
  ];
  const outcome = await invoke('budget', 'reconcile', ...apply);
  expect(outcome.out).toContain('1 costs recorded');
  const acts = await listActs(test.sql, { operator: 'fay', limit: 10 });
  expect(acts).toMatchObject([
    {
      act: 'budget_reconcile',
      reason: 'log',
      target: { reservationId },
      before: { costUsd: null },
      after: { costUsd: '0.0006', outcome: 'settled' },
    },
  ]);
  await invoke('budget', 'reconcile', ...apply);
  expect(await listActs(test.sql, { operator: 'fay', limit: 10 })).toHaveLength(1);
});

it('a repetition that changes nothing writes no row, and neither does an act that is refused', async () => {
  const { tenantId, toReplay, toDiscard, toCancel } = tenant;
  const lastId = (await newest())?.id;
  const t = ['--tenant', tenantId];
  for (const [code, ...args] of [
    [0, 'dlq', 'replay', toReplay],
    [1, 'dlq', 'discard', toDiscard, '--reason', 'again'],
    [0, 'jobs', 'cancel', toCancel, '--reason', 'again'],
    [0, 'resume', ...t],
    [0, 'tenants', 'set-plan', tenantId, 'enterprise'],
    [0, 'tenants', 'set-limits', tenantId, '--weight', '2'],
    [1, 'tenants', 'add', tenantId],
    [64, 'tenants', 'set-plan', tenantId, 'no-such-plan'],
    [0, 'budget', 'set', ...t, '--monthly-limit', '5.00'],
    [1, 'budget', 'set', '--tenant', 'nobody', '--monthly-limit', '5'],
    [0, 'limits', 'clear', ...t],
    [0, 'scopes', 'remove', ...t, '--kind', 'tenant', '--each', 'day'],
    [0, 'fleet-scopes', 'remove', '--kind', 'fleet', '--each', 'day'],
    [0, 'llm', 'resume', ...t],
    [0, 'llm', 'breakers', 'reset', `credential:test/own/${tenantId}`],
    [0, 'schedules', 'resume', 'finops_analysis', ...t],
    [0, 'schedules', 'set', 'finops_analysis', ...t, '--cron', '0 */2 * * *'],
    [0, 'prices', 'sync', '--provider', 'groq'],
    [0, 'prices', 'rerate', ...t, '--model=dear', '--from=2020-01-01', '--apply', '--reason=x'],
    [0, 'keys', 'rotate'],
    [1, 'pause', '--type', 'no_such', '--reason', 'x'],
  ] as const) {
    const outcome = await invoke(...args);
    expect([args.join(' '), outcome.code]).toEqual([args.join(' '), code]);
    expect([args.join(' '), (await newest())?.id]).toEqual([args.join(' '), lastId]);
  }
});

it('no value of a payload or a secret is on the record', async () => {
  const rows = await test.sql<{ text: string }[]>`select a::text as text from operator_acts a`;
  expect(rows.length).toBeGreaterThanOrEqual(40);
  expect(rows.filter(({ text }) => text.includes(canary.slice(0, 11)))).toEqual([]);
  // Of an own key not even its last characters.
  expect(rows.filter(({ text }) => text.includes(canary.slice(-4)))).toEqual([]);
});

it('purser audit lists the newest first, by operator, act, tenant and time, and says what it leaves out', async () => {
  const { tenantId } = tenant;
  const list = async (...args: string[]): Promise<{ act: string; id: string }[]> =>
    JSON.parse((await invoke('audit', ...args, '--json')).out);
  const ids = (await list('--limit', '1000')).map(({ id }) => Number(id));
  expect(ids).toEqual(ids.toSorted((a, b) => b - a));
  const ofAlice = (await list('--operator', 'alice', '--limit', '1000')).length;
  expect(ofAlice).toBe(ids.length - 1);
  expect((await list('--act', 'pause')).map(({ act }) => act)).toEqual(['pause']);
  expect((await list('--tenant', tenantId, '--act', 'budget_set')).length).toBe(1);
  expect(await list('--since', '2999-01-01')).toEqual([]);
  const cut = await invoke('audit', '--operator', 'alice', '--limit', '2');
  expect(cut.err).toBe(`2 of ${ofAlice} acts; more with --limit`);
  expect(cut.out.split('\n')).toHaveLength(4);
  expect((await invoke('audit', '--operator', 'alice', '--limit', '1000')).err).toBe('');
  expect(await invoke('audit', '--tenant', 'nobody')).toMatchObject({
    code: 1,
    err: 'there is no tenant "nobody"',
  });
  expect((await invoke('audit', '--operator', 'nobody')).out).toBe('no act is on record');
});
