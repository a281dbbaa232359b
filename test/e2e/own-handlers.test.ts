/** PURSER_HANDLERS: a module outside the repository, without any import, runs jobs. */
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { runCli } from '../support/process.ts';
import { addTenant } from '../support/tenants.ts';
import { startRole, stopAll } from './fleet.ts';

let database: TestDatabase;
let folder: string;
beforeAll(async () => {
  database = await freshDatabase();
  folder = await mkdtemp(join(tmpdir(), 'purser-handlers-'));
});
afterAll(async () => {
  await database.close();
  await rm(folder, { recursive: true });
});

async function write(name: string, text: string): Promise<void> {
  await writeFile(join(folder, name), text);
}

async function untilState(jobId: string, wanted: string): Promise<void> {
  for (;;) {
    const [job] = await database.sql<{ state: string }[]>`
      select state from background_jobs where id = ${jobId}::bigint`;
    if (job?.state === wanted) return;
    if (job?.state === 'dead_letter') throw new Error(`job ${jobId} is a dead letter`);
    await sleep(25);
  }
}

/** The job of the first tick, once a scheduler has made it. */
async function scheduledJob(jobType: string): Promise<string> {
  for (;;) {
    const [tick] = await database.sql<{ job_id: string }[]>`
      select job_id from schedule_ticks where job_type = ${jobType}`;
    if (tick !== undefined) return tick.job_id;
    await sleep(25);
  }
}

it('runs a handler that is a plain object, by its schedule too, and lets a running job finish when the worker stops', async () => {
  await write(
    'greet.mjs',
    `export const handlers = [{
      type: 'greet', timeoutMs: 20000, maxAttempts: 2,
      run: async (ctx) => {
        await new Promise((resolve) => setTimeout(resolve, ctx.payload.waitMs));
        const [tenant] = await ctx.sql\`select id from tenants\`;
        return { hello: tenant.id };
      },
    }];
    export const schedules = [{ jobType: 'greet', cron: '0 0 1 1 *', cohorts: ['active'] }];`,
  );
  const tenantId = await addTenant(database.sql);
  // Relative to where the process runs, as a shell would read it.
  const env = { DATABASE_URL: database.url, PURSER_HANDLERS: './greet.mjs' };
  const fleet = await Promise.all([
    startRole('scheduler', { DATABASE_URL: database.url }),
    startRole('worker', env, folder),
  ]);
  const enqueue = async (waitMs: number): Promise<string> => {
    const args = ['enqueue', 'greet', '--tenant', tenantId, '--json'];
    const payload = JSON.stringify({ waitMs });
    const { stdout } = await runCli([...args, '--payload', payload], { env, cwd: folder });
    const { jobId }: { jobId: string } = JSON.parse(stdout);
    return jobId;
  };
  await untilState(await enqueue(0), 'completed');
  await untilState(await scheduledJob('greet'), 'completed');
  const slow = await enqueue(1_500);
  await untilState(slow, 'running');
  expect(await stopAll(fleet)).toEqual([0, 0]);
  const shown = await runCli(['jobs', 'show', slow, '--json'], {
    env: { DATABASE_URL: database.url },
  });
  expect(JSON.parse(shown.stdout)).toMatchObject({
    state: 'completed',
    attempt: 1,
    result: { hello: tenantId },
  });
}, 60_000);

it('an unhandled rejection of a handler fails its job and not the worker', async () => {
  await write(
    'forgets.mjs',
    `export const handlers = [{
      type: 'forgets', timeoutMs: 20000, maxAttempts: 1,
      run: async (ctx) => {
        void ctx.sql\`select 1 / 0\`.then();
        await new Promise((resolve) => setTimeout(resolve, 500));
      },
    }];`,
  );
  const tenantId = await addTenant(database.sql);
  const env = { DATABASE_URL: database.url, PURSER_HANDLERS: join(folder, 'forgets.mjs') };
  const worker = await startRole('worker', env);
  const scheduler = await startRole('scheduler', { DATABASE_URL: database.url });
  const enqueued = await runCli(['enqueue', 'forgets', '--tenant', tenantId, '--json'], { env });
  const { jobId }: { jobId: string } = JSON.parse(enqueued.stdout);
  await untilState(jobId, 'dead_letter');
  const [job] = await database.sql`select error from background_jobs where id = ${jobId}`;
  expect(job?.['error']).toMatchObject({
    code: 'unhandled_rejection',
    message: expect.stringContaining('division by zero'),
  });
  expect(await stopAll([scheduler, worker])).toEqual([0, 0]);
}, 60_000);

it('runs a module in TypeScript where its project has tsx, and names tsx where it has not', async () => {
  await write('work.ts', 'export const answer = (kind: number): object => ({ kind });');
  const text = `import { answer } from './work.ts';
    enum Kind { first = 7 }
    export const handlers = [{
      type: 'typed', timeoutMs: 20_000 as number, maxAttempts: 1,
      run: async (): Promise<object> => answer(Kind.first),
    }];`;
  await write('typed.ts', text);
  const env = { DATABASE_URL: database.url, PURSER_HANDLERS: join(folder, 'typed.ts') };
  const without = await runCli(['start', 'worker'], { env, cwd: folder });
  expect(without).toMatchObject({
    code: 78,
    stderr: expect.stringMatching(
      /this Node .* does not run TypeScript: install tsx beside the module/,
    ),
  });
  await mkdir(join(folder, 'node_modules'));
  const tsx = join(import.meta.dirname, '../../node_modules/tsx');
  await symlink(tsx, join(folder, 'node_modules/tsx'));
  const tenantId = await addTenant(database.sql);
  const fleet = await Promise.all([
    startRole('scheduler', { DATABASE_URL: database.url }),
    startRole('worker', env),
  ]);
  const args = ['enqueue', 'typed', '--tenant', tenantId, '--json'];
  const { jobId }: { jobId: string } = JSON.parse((await runCli(args, { env })).stdout);
  await untilState(jobId, 'completed');
  const [job] = await database.sql`select result from background_jobs where id = ${jobId}`;
  expect(job?.['result']).toEqual({ kind: 7 });
  expect(await stopAll(fleet)).toEqual([0, 0]);
}, 60_000);

it.each([
  { name: 'missing.mjs', text: undefined, says: 'the module cannot be loaded: Cannot find module' },
  { name: 'syntax.mjs', text: '\nexport const handlers = [}', says: '/syntax.mjs:2)' },
  { name: 'imports.mjs', text: 'import "./syntax.mjs";', says: '/syntax.mjs:2)' },
  { name: 'throws.mjs', text: 'throw new Error("no key")', says: 'cannot be loaded: no key (/' },
  { name: 'none.mjs', text: 'export const jobs = []', says: 'must export `handlers`, an array' },
  {
    name: 'run.mjs',
    text: 'export const handlers = [{ type: "x", timeoutMs: 1, maxAttempts: 1 }]',
    says: 'handlers[0]: run: must be a function',
  },
  {
    name: 'builtin.mjs',
    text: 'export const handlers = [{ type: "finops_analysis", timeoutMs: 1, maxAttempts: 1, run() {} }]',
    says: 'the job type finops_analysis is built in',
  },
  {
    name: 'type.mjs',
    text: 'export const handlers = [{ type: "Bad Type", timeoutMs: 1, maxAttempts: 1, run() {} }]',
    says: 'handlers[0]: handler "Bad Type": type: the job type "Bad Type" is not allowed: use lower-case',
  },
  {
    name: 'twice.mjs',
    text: `const one = { type: "one", timeoutMs: 1, maxAttempts: 1, run() {} };
      export const handlers = [one, { ...one, timeoutMs: 2 }];`,
    says: 'handlers[1]: handlers[0] has the type one too; rename one of them',
  },
  {
    name: 'misspelt.mjs',
    text: `export const handlers =
      [{ type: "x", timeoutMs: 1, maxAttempts: 1, giveUpAfterMS: 5, on_budget: "fail", run() {} }];`,
    says: 'handlers[0]: giveUpAfterMS: the property is called giveUpAfterMs; on_budget: the property is called onBudget',
  },
  {
    name: 'getter.mjs',
    text: 'export const handlers = [{ type: "x", get timeoutMs() { throw new Error("no limit"); } }]',
    says: 'the module cannot be read: no limit',
  },
  {
    name: 'revoked.mjs',
    text: 'const { proxy, revoke } = Proxy.revocable([], {}); revoke(); export const handlers = proxy;',
    says: 'the module cannot be read: Cannot perform',
  },
  { name: 'null.mjs', text: 'export const handlers = [null]', says: 'handlers[0]: Invalid input' },
  {
    name: 'exits.mjs',
    text: 'process.exit(0); export const handlers = []',
    says: 'the module did not load: its thread ended by itself',
  },
  {
    name: 'kills.mjs',
    text: 'process.kill(process.pid, "SIGTERM"); export const handlers = []',
    says: 'the module cannot be loaded: the handlers module called process.kill(',
  },
])('exits 78 and names the fault of $name', async ({ name, text, says }) => {
  if (text !== undefined) await write(name, text);
  const env = { DATABASE_URL: database.url, PURSER_HANDLERS: join(folder, name) };
  const { code, stderr } = await runCli(['start', 'worker'], { env });
  expect(stderr).toContain(`purser: PURSER_HANDLERS=${join(folder, name)}: `);
  expect(stderr).toContain(says);
  expect(code).toBe(78);
});

it.each([
  ['calls process.exit', 'process.exit(0)'],
  [
    'throws in a callback',
    'setTimeout(() => { throw new Error("no host"); }); await new Promise(() => {});',
  ],
  [
    'does not handle a rejection',
    'Promise.reject(new Error("no host")); await new Promise(() => {});',
  ],
])('a module that %s while it loads ends a command with 78', async (_name, text) => {
  await write('ends.mjs', `${text}; export const handlers = [];`);
  const env = { DATABASE_URL: database.url, PURSER_HANDLERS: join(folder, 'ends.mjs') };
  for (const command of [
    ['handlers', 'list'],
    ['enqueue', 'any', '--tenant', 'any'],
  ]) {
    const { code, stderr } = await runCli(command, { env });
    expect(stderr).toContain(
      `purser: PURSER_HANDLERS=${env.PURSER_HANDLERS}: the module ended the process while it was loaded`,
    );
    expect(code).toBe(78);
  }
});
