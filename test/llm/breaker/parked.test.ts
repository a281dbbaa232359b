/** Jobs that meet an open breaker park without an attempt: one wakes as the probe, the others when it is closed. */
import { beforeAll, expect, it } from 'vitest';
import { setBudget } from '../../../src/budget/budgets.ts';
import { breakersOf, nameOf } from '../../../src/llm/breaker/breaker-id.ts';
import { circuitOpen } from '../../../src/llm/breaker/refusal.ts';
import {
  changeBreakers,
  listBreakers,
  recordRefusal,
  resetBreaker,
  takeProbe,
} from '../../../src/llm/breaker/store.ts';
import { removeOwnKey } from '../../../src/llm/keys/stored-keys.ts';
import type { LlmCall } from '../../../src/llm/llm.ts';
import { wakeParkedJobs } from '../../../src/jobs/sweep.ts';
import { endOfThrow } from '../../../src/worker/classify.ts';
import { addJobType, begin, claim, finish, jobRow, runningJob } from '../../jobs/job-steps.ts';
import { useWorkers } from './workers.ts';
import type { TestWorker } from './workers.ts';

const fleet = useWorkers();
const { worker, tenants, untilState, endPauses } = fleet;
beforeAll(() => addJobType(fleet.sql));

const handler = { onBudget: 'park', backoff: { baseMs: 1_000, capMs: 60_000 } } as const;
const opening = (name: string) =>
  ({
    kind: 'model',
    key: `openai/${name}`,
    provider: 'openai',
    name,
    tenantId: undefined,
  }) as const;
const open = (...models: string[]) =>
  changeBreakers(
    fleet.sql,
    models.map((model) => ({ ...opening(model), tenants: 3, error: 'llm_overloaded' })),
    'test',
  );

type Running = Awaited<ReturnType<typeof runningJob>>;

/** The attempt makes a call and ends as its error says; the job's id. */
async function callAndEnd(
  one: TestWorker,
  attempt: Running,
  tenantId: string,
  asked: Partial<LlmCall> = {},
) {
  const thrown: unknown = await one
    .call(tenantId, asked, { ...attempt, tenantId })
    .catch((error: unknown) => error);
  const end =
    thrown instanceof Error ? endOfThrow(thrown, { handler, attempt, now: new Date() }) : {};
  await finish(fleet.sql, attempt, end);
  return attempt.jobId;
}

async function park(one: TestWorker, tenantIds: readonly string[], asked?: Partial<LlmCall>) {
  const ids: string[] = [];
  for (const tenantId of tenantIds) {
    ids.push(await callAndEnd(one, await runningJob(fleet.sql, tenantId), tenantId, asked));
  }
  return ids;
}

const parked = async (ids: readonly string[]): Promise<string[]> => {
  const rows = await fleet.sql<{ id: string }[]>`
    select job_id as id from purser.parked where job_id = any(${[...ids]}::bigint[])`;
  return rows.map(({ id }) => id);
};

/** The woken job runs and makes its call. */
async function runWoken(one: TestWorker): Promise<string> {
  const [job] = await claim(fleet.sql);
  if (job === undefined) throw new Error('no job was woken');
  const { tenant_id: tenantId } =
    (await fleet.sql`select tenant_id from jobs where id = ${job.jobId}`)[0] ?? {};
  return callAndEnd(one, await begin(fleet.sql, job), String(tenantId));
}

it('one of many wakes to probe, and the others when it has closed the breaker', async () => {
  const one = worker();
  const [a = '', b = '', c = ''] = await tenants(3);
  await open('m');
  const ids = await park(one, [a, b, c, a, b, c, a, b]);
  const [first = ''] = ids;
  expect(await jobRow(fleet.sql, first)).toMatchObject({
    state: 'parked',
    attempt: 0,
    error: { code: 'llm_circuit_open' },
    state_detail: { reason: 'llm_circuit_open' },
  });
  expect(await wakeParkedJobs(fleet.sql)).toBe(0);
  await endPauses();
  expect([await wakeParkedJobs(fleet.sql), await wakeParkedJobs(fleet.sql)]).toEqual([1, 0]);
  // Its probe fails, and it parks again: no other one wakes before the next pause has ended.
  one.clock.ms += 1_000;
  fleet.provider.script({ kind: 'status', status: 529 });
  const failed = await runWoken(one);
  expect(await jobRow(fleet.sql, failed)).toMatchObject({ state: 'failed', attempt: 1 });
  await untilState('model:openai/m', 'open');
  expect(await wakeParkedJobs(fleet.sql)).toBe(0);
  await endPauses();
  expect(await wakeParkedJobs(fleet.sql)).toBe(1);
  one.clock.ms += 1_000;
  const probed = await runWoken(one);
  expect(await jobRow(fleet.sql, probed)).toMatchObject({ state: 'completed' });
  await untilState('model:openai/m', 'closed');
  expect(await wakeParkedJobs(fleet.sql)).toBe(6);
  expect(await parked(ids)).toEqual([]);
});

it('a job whose forms are all kept wakes when one of them is free; another is woken for a probe that never came', async () => {
  const one = worker();
  const [a = '', b = ''] = await tenants(2);
  await open('m', 'n');
  const [both = ''] = await park(one, [a], { fallbacks: [{ model: 'n' }] });
  const only = await park(one, [a, b, b]);
  await resetBreaker(fleet.sql, 'model:openai/n', 'grace');
  expect(await wakeParkedJobs(fleet.sql)).toBe(1);
  expect(await jobRow(fleet.sql, both)).toMatchObject({ state: 'pending' });
  await endPauses();
  expect(await wakeParkedJobs(fleet.sql)).toBe(1);
  expect(await wakeParkedJobs(fleet.sql, { offsetMs: 59_000 })).toBe(0);
  expect(await wakeParkedJobs(fleet.sql, { offsetMs: 61_000 })).toBe(1);
  expect(await parked(only)).toHaveLength(1);
  await resetBreaker(fleet.sql, 'model:openai/m', 'grace');
  await wakeParkedJobs(fleet.sql);
  expect(await parked(only)).toEqual([]);
});

it('a budget that has no room keeps a job parked after its breaker is closed', async () => {
  const one = worker();
  const [a = ''] = await tenants(1);
  await open('m');
  const ids = await park(one, [a]);
  await fleet.sql`update llm_budgets set monthly_limit_usd = 0.000000001 where tenant_id = ${a}`;
  await resetBreaker(fleet.sql, 'model:openai/m', 'grace');
  expect(await wakeParkedJobs(fleet.sql)).toBe(0);
  expect(await parked(ids)).toEqual(ids);
});

it('the probe is a job that would wake without the breaker', async () => {
  const one = worker();
  const [poor = '', rich = ''] = await tenants(2);
  await open('m');
  const without = await park(
    one,
    Array.from({ length: 9 }, () => poor),
  );
  await fleet.sql`update llm_budgets set monthly_limit_usd = 0.000000001 where tenant_id = ${poor}`;
  const ids = await park(one, [rich]);
  await endPauses();
  expect(await wakeParkedJobs(fleet.sql)).toBe(1);
  expect(await parked(ids)).toEqual([]);
  expect(await parked(without)).toHaveLength(9);
});

it('a breaker that no call has probed for ten minutes after its pause keeps no job', async () => {
  const one = worker();
  const [a = ''] = await tenants(1);
  await open('m');
  const ids = await park(one, [a, a, a, a]);
  await endPauses();
  expect(await wakeParkedJobs(fleet.sql, { offsetMs: 9 * 60_000 })).toBe(1);
  expect(await wakeParkedJobs(fleet.sql, { offsetMs: 11 * 60_000 })).toBe(3);
  expect(await parked(ids)).toEqual([]);
});

it('a job of an own key that counts apart wakes without room in the month', async () => {
  const [a = ''] = await tenants(1);
  await fleet.sql`
    insert into llm_provider_keys (tenant_id, provider, api_key, encryption_key_version, last_four, set_by)
    values (${a}, 'openai', 'ciphertext', 1, 'abcd', 'test')`;
  await setBudget(fleet.sql, { tenantId: a, monthlyLimitUsd: '0', hard: true });
  await open('m');
  const attempt = await runningJob(fleet.sql, a);
  const refused = {
    tenantId: a,
    provider: 'openai',
    providerKey: 'own:openai',
    model: 'm',
    neededUsd: '1',
    breakers: ['model:openai/m'],
  };
  await recordRefusal(fleet.sql, { ...refused, ...attempt });
  const error = circuitOpen({ ...refused, lastError: 'llm_overloaded', waitMs: 10_000 });
  await finish(fleet.sql, attempt, endOfThrow(error, { handler, attempt, now: new Date() }));
  expect(await parked([attempt.jobId])).toHaveLength(1);
  expect(await wakeParkedJobs(fleet.sql)).toBe(0);
  await resetBreaker(fleet.sql, 'model:openai/m', 'grace');
  expect(await wakeParkedJobs(fleet.sql)).toBe(1);
});

it('a new or removed own key begins with a closed breaker', async () => {
  const [a = ''] = await tenants(1);
  const own = { tenantId: a, provider: 'openai' } as const;
  const [id] = breakersOf({ ...own, model: 'm', providerKey: 'own:openai' });
  const stateNow = async () =>
    (await listBreakers(fleet.sql)).find(({ name }) => name === nameOf(id))?.state;
  await changeBreakers(fleet.sql, [{ ...id, tenants: 1, error: 'llm_auth' }], 'test');
  expect(await stateNow()).toBe('open');
  await removeOwnKey(fleet.sql, own, 'test');
  expect(await stateNow()).toBe('closed');
});

it('the lease of a probe whose worker died expires, and its late answer changes nothing', async () => {
  await open('m');
  await endPauses();
  const [dead, next] = [
    '00000000-0000-4000-8000-000000000001',
    '00000000-0000-4000-8000-000000000002',
  ];
  const names = ['model:openai/m'];
  const take = (probe: string, afterMs: number) =>
    takeProbe(fleet.sql, {
      names,
      probe,
      leaseMs: 30_000,
      by: 'test',
      now: new Date(Date.now() + afterMs),
    });
  expect(await take(dead, 1_000)).toBe(true);
  expect(await take(next, 30_000)).toBe(false);
  expect(await take(next, 32_000)).toBe(true);
  const late = { ...opening('m'), probe: dead, result: 'ok', error: 'llm_timeout' } as const;
  expect(await changeBreakers(fleet.sql, [late], 'test')).toEqual([]);
  expect(await changeBreakers(fleet.sql, [{ ...late, probe: next }], 'test')).toMatchObject([
    { before: 'probing', state: 'closed' },
  ]);
});
