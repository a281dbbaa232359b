/**
 * A worker that is suspended (SIGSTOP) for longer than its leases and resumed: its attempts are stale, and only the
 * cost of their LLM calls is still recorded.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { describeOnRedis } from '../support/redis.ts';
import { startProvider } from '../support/provider.ts';
import type { TestProvider } from '../support/provider.ts';
import { allCompleted } from './auditor.ts';
import type { Audit } from './auditor.ts';
import { say } from './figures.ts';
import { until } from './until.ts';
import { onStage } from './fleet.ts';
import type { BackendKind, Stage } from './fleet.ts';

let provider: TestProvider;
beforeAll(async () => {
  provider = await startProvider();
});
afterAll(() => provider.stop());

interface Reservation {
  readonly job_id: string;
  readonly status: string;
  readonly billed: boolean;
}

const reservationsOf = (stage: Stage) => stage.sql<Reservation[]>`
  select r.job_id::text as job_id, r.status, u.reservation_id is not null as billed
  from llm_reservations r left join llm_usage u on u.reservation_id = r.id order by r.created_at`;

/**
 * One job whose second attempt has ended when the worker thaws, and one whose second attempt still runs. The
 * first one's call of the LLM is answered, and its settlement waits at the server, when the freeze begins.
 */
async function freezeAndThaw(stage: Stage): Promise<Audit> {
  const { sql } = stage;
  const env = {
    LLM_PROVIDER: 'openai',
    OPENAI_BASE_URL: provider.url,
    OPENAI_API_KEY: 'sk-test',
    LLM_MODEL: 'gpt-4o-mini',
    LOG_LEVEL: 'info',
  };
  await stage.keepScheduler();
  const frozen = await stage.keepWorker(env);
  const [gate, laterGate] = [stage.gate(), stage.gate()];
  provider.script({ kind: 'answer', delayMs: 1_000 });
  const [over, under] = await stage.enqueue('fault_stubborn', [
    { gate, spends: true },
    { gate, laterGate },
  ]);
  if (over === undefined || under === undefined) throw new Error('nothing was enqueued');
  const begun = () => sql<{ job_id: string }[]>`
    select job_id::text as job_id from fault_effects where kind = 'begun'`;
  await until('both first attempts', async () => (await begun()).length === 2);
  await until('the request to leave', async () => {
    const [held] = await sql`select from llm_reservations where sent_at is not null`;
    return held !== undefined;
  });
  // The settlement reaches the server and waits for this lock until after the takeover.
  await sql.begin(async (tx) => {
    await tx`select from llm_reservations for update`;
    await until('the settlement to wait', async () => {
      const [waiting] = await sql`
        select from pg_stat_activity where wait_event_type = 'Lock' and query like '%budget_settle%'`;
      return waiting !== undefined;
    });
    frozen.current().signal('SIGSTOP');
    await stage.keepWorker(env);
    await stage.untilStates([over], 1, 'completed');
    await until('the second attempt that still runs', async () => (await begun()).length === 4);
  });
  await until('the bill', async () => (await reservationsOf(stage))[0]?.billed === true);
  expect(await reservationsOf(stage)).toMatchObject([{ job_id: over, status: 'APPLIED' }]);

  await stage.open(gate);
  frozen.current().signal('SIGCONT');
  const told = async (jobId: string): Promise<string> => {
    const line = await frozen
      .current()
      .waitForLine(new RegExp(`"jobId":"${jobId}".*stale_attempt_was_told`));
    return /"answers":"([^"]+)"/.exec(line)?.[1] ?? line;
  };
  const answers = await Promise.all([told(over), told(under)]);
  say(`thawed: ${answers.join(' | ')}`);
  for (const answer of answers) {
    // PU001: the token maps to no tenant any more. PU002: the fence found it gone.
    expect(answer).toMatch(/^plain (PU00[12]|lease_lost), complete (PU00[12]|lease_lost), child /);
    expect(answer).not.toMatch(/(plain|complete|child) done/);
  }
  await stage.open(laterGate);
  const audited = await stage.audit();
  const results = await sql`select result, attempt, losses from background_jobs order by id`;
  expect([...results]).toMatchObject([
    { result: { by: 'later attempt' }, attempt: 1 },
    { result: { by: 'later attempt' }, attempt: 1 },
  ]);
  expect(await sql`select from fault_effects where kind like 'stale%'`).toHaveLength(0);
  return audited;
}

const thaw = (backend: BackendKind) => onStage({ backend }, freezeAndThaw);

describeOnRedis('a worker that thaws after its leases passed, queues in Redis', () => {
  it('has its results and effects refused, and its LLM cost recorded', async () => {
    expect(await thaw('redis')).toEqual(allCompleted(2));
  });
});

describe('a worker that is resumed after its leases passed, queues in Postgres', () => {
  it('has its results and effects refused, and its LLM cost recorded', async () => {
    expect(await thaw('postgres')).toEqual(allCompleted(2));
  });
});
