/** PURSER_BUILTINS on a database: what it leaves out is not registered, makes no ticks, and comes back. */
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { finopsJobTypes } from '../../../src/builtins.ts';
import { prepareDatabase } from '../../../src/cli/runtime/prepare-database.ts';
import { startSchedulerRole } from '../../../src/cli/roles/scheduler.ts';
import { openQueues, openServiceDatabase } from '../../../src/cli/runtime/services.ts';
import { loadConfig } from '../../../src/config.ts';
import { createLogger } from '../../../src/log.ts';
import { Lifecycle } from '../../../src/process/lifecycle.ts';
import { emptyDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { addTenant } from '../../support/tenants.ts';
import { invokeWith } from '../in-process.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await emptyDatabase();
});
afterAll(() => database.close());

const invoke = (builtins: string, ...args: string[]) =>
  invokeWith({ DATABASE_URL: database.url, PURSER_BUILTINS: builtins })(...args);

async function registered(): Promise<string[]> {
  const types = await database.sql<{ job_type: string }[]>`
    select job_type from job_types order by job_type`;
  return types.map(({ job_type }) => job_type);
}

const schedules = () =>
  database.sql`select tenant_id from tenant_schedules where job_type = 'finops_analysis'`;

it('migrate registers and schedules only what is on, and adds the rest when it is switched on', async () => {
  await prepareDatabase({ url: database.url, finops: [] });
  const tenantId = await addTenant(database.sql);
  expect(await registered()).toEqual(['key_rotation']);
  expect([...(await database.sql`select * from schedules`), ...(await schedules())]).toEqual([]);

  expect(await invoke('cost_ingestion', 'migrate', 'up')).toMatchObject({ code: 0 });
  expect(await registered()).toEqual(['cost_ingestion', 'key_rotation']);
  expect([...(await schedules())]).toEqual([]);

  expect(await invoke('on', 'migrate', 'up')).toMatchObject({ code: 0 });
  expect(await registered()).toEqual([...finopsJobTypes, 'key_rotation']);
  expect([...(await schedules())]).toEqual([{ tenant_id: tenantId }]);
});

/** Runs a scheduler of this environment until it has made a tick of `jobType`. */
async function scheduleUntilTick(builtins: string, jobType: string): Promise<void> {
  const config = loadConfig({
    LOG_LEVEL: 'silent',
    DATABASE_URL: database.url,
    PURSER_BUILTINS: builtins,
  });
  const log = createLogger({ level: 'silent', role: 'test' });
  const lifecycle = new Lifecycle(log);
  try {
    const name = 'scheduler';
    const opened = await openServiceDatabase(config, lifecycle, { name, systemConnections: 2 });
    const queues = openQueues(config, lifecycle, { database: opened, workers: 0, name, log });
    startSchedulerRole({ config, lifecycle, database: opened, queues });
    await vi.waitFor(async () => expect(await scheduled()).toContain(jobType), { timeout: 10_000 });
  } finally {
    await lifecycle.close();
  }
}

async function scheduled(): Promise<string[]> {
  const jobs = await database.sql<{ job_type: string }[]>`
    select distinct job_type from background_jobs order by job_type`;
  return jobs.map(({ job_type }) => job_type);
}

it('a database that was migrated with all of them makes no ticks of what is off now, and makes them again', async () => {
  await database.sql`
    insert into schedules (job_type, cohort, cron)
    select 'key_rotation', c, '* * * * *' from unnest(array['high_value', 'active', 'dormant']) c`;
  await database.sql`
    update tenant_schedules set next_due = now() + case job_type
      when 'finops_analysis' then interval '-1 day' else interval '0' end`;
  await scheduleUntilTick('off', 'key_rotation');
  expect(await scheduled()).toEqual(['key_rotation']);
  await scheduleUntilTick('on', 'finops_analysis');
}, 30_000);

it.each([
  { builtins: 'off', command: 'ingest --tenant acme --file x.csv', missing: 'cost_ingestion' },
  { builtins: 'finops_analysis', command: 'demo --once', missing: 'cost_ingestion' },
  { builtins: 'off', command: 'demo', missing: 'types cost_ingestion and finops_analysis' },
  {
    builtins: 'cost_ingestion',
    command: 'enqueue finops_analysis --tenant acme',
    missing: 'finops_analysis',
  },
])('$command is refused with PURSER_BUILTINS=$builtins', async ({ builtins, command, missing }) => {
  const { code, err } = await invoke(builtins, ...command.split(' '));
  expect([code, err]).toEqual([78, expect.stringContaining(`${missing}, which PURSER_BUILTINS`)]);
});

it('handlers list names what a worker of this environment runs', async () => {
  const { out } = await invoke('finops_analysis', 'handlers', 'list', '--json');
  const types = (JSON.parse(out) as { type: string }[]).map(({ type }) => type);
  expect(types).toEqual(['finops_analysis', 'key_rotation']);
});

it.each(['', 'on'])('everything is on with PURSER_BUILTINS=%s', async (builtins) => {
  const { out } = await invoke(builtins, 'handlers', 'list', '--json');
  expect(JSON.parse(out)).toHaveLength(3);
});

it.each(['none', 'on,cost_ingestion', 'cost_ingestion,', 'key_rotation'])(
  'PURSER_BUILTINS=%s is refused with the names that are known',
  async (builtins) => {
    expect(await invoke(builtins, 'handlers', 'list')).toMatchObject({
      code: 78,
      err: expect.stringContaining(
        'PURSER_BUILTINS must be on, off, or a comma-separated list of cost_ingestion, finops_analysis',
      ),
    });
  },
);
