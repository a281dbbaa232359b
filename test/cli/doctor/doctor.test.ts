/** `purser doctor`, and exit codes without a usable database. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { addJob, addJobType, claim } from '../../jobs/job-steps.ts';
import { freePort } from '../../support/children.ts';
import { emptyDatabase, freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { runCli } from '../../support/process.ts';
import { describeOnRedis, startRedis } from '../../support/redis.ts';
import { addTenant } from '../../support/tenants.ts';
import { invokeWith } from '../in-process.ts';

interface Finding {
  readonly check: string;
  readonly level: string;
  readonly seen: string;
  readonly fix?: string;
}

async function examine(env: NodeJS.ProcessEnv): Promise<{ code: number; findings: Finding[] }> {
  const { code, out } = await invokeWith(env)('doctor', '--json');
  return { code, findings: JSON.parse(out) };
}

let fresh: TestDatabase;
let empty: TestDatabase;
beforeAll(async () => {
  [fresh, empty] = await Promise.all([freshDatabase(), emptyDatabase()]);
});
afterAll(async () => {
  await Promise.all([fresh.close(), empty.close()]);
});

const checks = [
  'node',
  'keys',
  'dashboard',
  'postgres',
  'migrations',
  'tenancy level',
  'row-level security',
  'connections',
  'open transactions',
  'clock',
  'queues',
  'schedulers',
  'workers',
  'schedules',
];

describe('doctor', () => {
  it('passes a migrated database, and every warning has a fix', async () => {
    const { code, findings } = await examine({ DATABASE_URL: fresh.url });
    expect(code).toBe(0);
    expect(findings.map(({ check }) => check)).toEqual(expect.arrayContaining(checks));
    expect(findings.filter(({ level }) => level === 'fail')).toEqual([]);
    const warned = findings.filter(({ level }) => level === 'warn');
    expect(warned.map(({ check }) => check)).toEqual(expect.arrayContaining(['keys', 'workers']));
    for (const { fix } of warned) expect(fix).toMatch(/\S{3}/);
  });

  it('fails for a model without a price, and passes once it has one', async () => {
    const llm = async (model: string) => {
      const env = { DATABASE_URL: fresh.url, OPENAI_API_KEY: 'sk-x', LLM_MODEL: model };
      return (await examine(env)).findings.find(({ check }) => check === 'llm');
    };
    expect(await llm('gpt-4o-mini')).toMatchObject({ level: 'ok' });
    expect(await llm('house-model')).toEqual({
      check: 'llm',
      level: 'fail',
      seen: 'LLM_MODEL house-model has no price, and calls of a model without a price are refused',
      fix: expect.stringContaining('purser prices set'),
    });
    await fresh.sql`
      insert into llm_prices (model, input_usd_per_mtok, output_usd_per_mtok) values ('house-model', 1, 2)`;
    expect(await llm('house-model')).toMatchObject({
      level: 'ok',
      seen: 'openai, house-model, priced by operator',
    });
  });

  it('names the tenancy level', async () => {
    const { findings } = await examine({
      DATABASE_URL: fresh.url,
      TENANT_DATABASE_URL: fresh.tenantUrl,
    });
    expect(findings.find(({ check }) => check === 'tenancy level')?.seen).toMatch(/^L3/);
  });

  it('fails with a fix without a database, before migration, and when the database is unreachable', async () => {
    const away = `postgres://u:p@127.0.0.1:${await freePort()}/x`;
    for (const [env, fix] of [
      [{}, /set it/],
      [{ DATABASE_URL: empty.url }, /purser migrate up/],
      [{ DATABASE_URL: away }, /check DATABASE_URL/],
      [{ DATABASE_URL: empty.url.replace(/:[^:@]+@/, ':wrong@') }, /check DATABASE_URL/],
    ] as const) {
      const { code, findings } = await examine(env);
      expect(code).toBe(1);
      const failed = findings.filter(({ level }) => level === 'fail');
      expect(failed).toMatchObject([{ check: 'database' }]);
      expect(failed[0]?.fix).toMatch(fix);
    }
  });
});

describe('doctor on a fleet that does not work', () => {
  let test: TestDatabase;
  beforeAll(async () => {
    test = await freshDatabase();
  });
  afterAll(() => test.close());

  const failures = async (): Promise<[string, string][]> => {
    const { code, findings } = await examine({ DATABASE_URL: test.url });
    const failed = findings.filter(({ level }) => level === 'fail');
    expect(code).toBe(failed.length === 0 ? 0 : 1);
    return failed.map(({ check, seen }) => [check, seen]);
  };

  it('fails for a database that accepts no writes', async () => {
    const { sql, name } = test;
    expect(await failures()).toEqual([]);
    await sql`alter database ${sql(name)} set default_transaction_read_only = on`;
    expect(await failures()).toEqual([
      ['writes', 'the database is read-only'],
      ['queues', 'the queue store is read-only'],
    ]);
    await sql`alter database ${sql(name)} reset default_transaction_read_only`;
  });

  it('fails for jobs that wait without a process, and for due and queued ones of a type that nobody runs', async () => {
    const [missing, unserved] = [
      'none is running, and jobs wait',
      'no live worker runs jobs of test_step',
    ];
    const flow = ['job flow', `${unserved}, and some are due`];
    await addJobType(test.sql);
    await addJob(test.sql, await addTenant(test.sql));
    expect(await failures()).toEqual([['schedulers', missing], ['workers', missing], flow]);
    await test.sql`
      insert into heartbeats (process_id, role, version, hostname, pid, job_types, type_slots, slots)
      values ('w', 'worker', '1', 'h', 1, '{another}', '{5}', 5), ('s', 'scheduler', '1', 'h', 1, '{}', '{}', 0)`;
    expect(await failures()).toEqual([flow]);
    await claim(test.sql);
    expect(await failures()).toEqual([flow]);
  });
});

describeOnRedis('doctor on Redis', () => {
  it('fails for a Redis that answers and accepts no writes', async () => {
    const redis = await startRedis();
    const env = { DATABASE_URL: fresh.url, REDIS_URL: redis.url };
    try {
      await redis.command('CONFIG', 'SET', 'maxmemory', '1');
      const { code, findings } = await examine(env);
      expect(code).toBe(1);
      expect(findings.filter(({ level }) => level === 'fail')).toMatchObject([
        { check: 'queues', seen: expect.stringContaining('refuses writes: OOM') },
      ]);
    } finally {
      await redis.stop();
    }
  });

  it('passes with Redis, and fails at the queues when Redis is unreachable', async () => {
    const redis = await startRedis();
    const env = { DATABASE_URL: fresh.url, REDIS_URL: redis.url };
    try {
      const up = await examine(env);
      expect(up.findings.find(({ check }) => check === 'queues')).toMatchObject({ level: 'ok' });
      await redis.kill();
      const down = await examine(env);
      expect(down.code).toBe(1);
      expect(down.findings.filter(({ level }) => level === 'fail')).toMatchObject([
        { check: 'queues' },
      ]);
    } finally {
      await redis.stop();
    }
  });
});

describe('exit codes', () => {
  it('is 69 for an unreachable database, a wrong password or a missing database', async () => {
    const urls = [
      `postgres://u:p@127.0.0.1:${await freePort()}/x`,
      empty.url.replace(/:[^:@]+@/, ':wrong@'),
      empty.url.replace(empty.name, 'no_such_database'),
    ];
    const runs = await Promise.all(
      urls.map((url) => runCli(['jobs', 'list'], { env: { DATABASE_URL: url } })),
    );
    for (const { code, stdout, stderr } of runs) {
      expect([code, stdout]).toEqual([69, '']);
      expect(stderr).toContain('Check DATABASE_URL (');
      expect(stderr).not.toMatch(/\n\s+at |REDIS_URL/);
    }
    const [away, ...refused] = runs.map(({ stderr }) => stderr);
    expect(away).toContain('that the service is running');
    for (const stderr of refused) expect(stderr).toContain('(user, password and database)');
  });

  it('is 78 before migration, for commands and roles alike', async () => {
    for (const args of [
      ['tenants', 'list'],
      ['start', 'scheduler'],
    ]) {
      const { code, stderr } = await runCli(args, { env: { DATABASE_URL: empty.url } });
      // A role logs the steps of its start before.
      const said = stderr.split('\n').filter((line) => !line.includes('"startup_step"'));
      expect([code, said]).toEqual([
        78,
        ['purser: this database has no Purser tables yet; run: purser migrate up'],
      ]);
    }
  });
});

it('migrate up prints what it applied, and applies nothing the second time', async () => {
  const invoke = invokeWith({ DATABASE_URL: empty.url });
  expect((await invoke('migrate', 'status')).out).toContain('not applied');
  const first = await invoke('migrate', 'up');
  expect(first).toMatchObject({
    code: 0,
    out: expect.stringMatching(/applied 0001_tenancy[^]*migrations applied$/),
  });
  expect((await invoke('migrate', 'up')).out).toMatch(/^the database is up to date/);
  expect((await invoke('migrate', 'status')).out).not.toContain('not applied');
  expect((await invoke('migrate', 'down', '--yes')).out).toMatch(/^reverted \d{4}_/);
});

it('exits 0 without a message when the reader of its output has closed the pipe', async () => {
  await fresh.sql`
    insert into tenants (id) select 'reader-' || n from generate_series(1, 5000) n`;
  const entry = fileURLToPath(new URL('../../../dist/cli/main.js', import.meta.url));
  const child = spawn(process.execPath, [entry, 'tenants', 'list', '--limit', '5000'], {
    env: { PATH: process.env['PATH'], DATABASE_URL: fresh.url },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  child.stdout.destroy();
  const [code] = await once(child, 'close');
  expect([code, stderr]).toEqual([0, '']);
});
