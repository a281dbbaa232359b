/** What holds a job until a time, and what a parked job sleeps for. */
import { describe, expect, it } from 'vitest';
import { setFleetScope } from '../../../src/budget/fleet/scopes.ts';
import { setScope } from '../../../src/budget/scopes.ts';
import { setStop } from '../../../src/budget/stops.ts';
import { park, snooze } from '../../../src/handlers/outcome.ts';
import { circuitOpen } from '../../../src/llm/breaker/refusal.ts';
import { changeBreakers, recordRefusal } from '../../../src/llm/breaker/store.ts';
import { endOfReturn } from '../../../src/worker/classify.ts';
import { addJob, addJobType, finish, runningJob, step } from '../../jobs/job-steps.ts';
import { reserve } from '../../support/holds.ts';
import { why } from '../../../src/operations/why/why.ts';
import type { WhyTarget } from '../../../src/operations/why/why.ts';
import {
  beat,
  codesOf,
  firstOf,
  inAnHour,
  other,
  refusedJob,
  sql,
  tenantId,
  throws,
  useArranged,
} from './arranged.ts';

useArranged();

describe('a job that waits for a time', () => {
  it('is scheduled for later', async () => {
    const runAt = inAnHour();
    expect(await firstOf(await addJob(sql, tenantId, { runAt }))).toMatchObject({
      code: 'later',
      says: `it is scheduled for ${runAt.toISOString()} (in 60 min)`,
      lift: null,
    });
  });

  it('has become due: nothing but its turn is left', async () => {
    const jobId = await addJob(sql, tenantId, { runAt: inAnHour() });
    await sql`update purser.later set scheduled_for = now()`;
    expect(await codesOf(jobId)).toEqual(['turn']);
  });

  it('backs off after an attempt that failed', async () => {
    const attempt = await runningJob(sql, tenantId);
    await finish(sql, attempt, {
      toState: 'failed',
      afterMs: 60_000,
      error: { code: 'http_503', message: 'busy' },
      detail: { reason: 'http_503' },
    });
    expect(await firstOf(attempt.jobId)).toMatchObject({
      code: 'backoff',
      says: expect.stringMatching(
        /^attempt 1 of 3 failed \(http_503\); the next one waits until 2/,
      ),
      facts: { attempt: 1, maxAttempts: 3 },
    });
  });

  it('is snoozed by its handler', async () => {
    const attempt = await runningJob(sql, tenantId);
    const facts = { attempt, handler: { onBudget: 'park' }, now: new Date() } as never;
    await finish(sql, attempt, endOfReturn(snooze({ afterMs: 60_000, reason: 'locked' }), facts));
    expect(await firstOf(attempt.jobId)).toMatchObject({
      code: 'snoozed',
      says: expect.stringMatching(/^snoozed: locked; it runs again at 2/),
    });
  });

  it('waits for fair use of its LLM calls', async () => {
    await sql`update tenants set max_calls_per_minute = 0 where id = ${tenantId}`;
    expect(await firstOf(await refusedJob('0.1'))).toMatchObject({
      code: 'fair_use',
      says: expect.stringContaining('has its 0 calls in a minute'),
      lift: `purser tenants set-limits ${tenantId} --calls-per-minute N --calls-in-flight N`,
    });
  });

  it('waits for an upload that is not complete, before its turn', async () => {
    const [upload] = await sql<{ id: string }[]>`
      insert into ingest_uploads (tenant_id, source, file_name, file_hash)
      values (${tenantId}, 'aws', 'a.csv', ${'0'.repeat(64)}) returning id`;
    await addJobType(sql, 'cost_ingestion');
    const payload = { uploadId: upload?.id };
    const jobId = await addJob(sql, tenantId, { jobType: 'cost_ingestion', payload });
    await beat('worker', ['cost_ingestion']);
    expect(await codesOf(jobId)).toEqual(['upload', 'turn']);
    await sql`update ingest_uploads set state = 'ready' where id = ${upload?.id ?? ''}`;
    expect(await codesOf(jobId)).toEqual(['turn']);
  });
});

describe('a parked job', () => {
  /** A job of which a call of 0.5 USD is refused by what `limit` sets. */
  async function refusedBy(limit: () => Promise<unknown>): Promise<string> {
    await limit();
    return refusedJob('0.5');
  }

  it('lacks budget: what it needs, what is available, when the month resets, and the top-up that it takes', async () => {
    const attempt = await runningJob(sql, tenantId);
    await reserve(sql, { ...attempt, tenantId }, '0.7');
    expect(await firstOf(await refusedJob('0.5'))).toMatchObject({
      code: 'budget',
      says: expect.stringMatching(
        new RegExp(
          `^it needs \\$0.5, and \\$0.3 of \\$1 is available in the month of tenant ${tenantId}; it resets at 2\\S+Z$`,
        ),
      ),
      lift: `purser budget top-up --tenant=${tenantId} --usd 0.2 --reason REASON`,
      facts: { neededUsd: '0.5', availableUsd: '0.3', missingUsd: '0.2' },
    });
  });

  it('is named by its tenant, with a top-up for all of them, by its type and by the fleet', async () => {
    const attempt = await runningJob(sql, tenantId);
    await reserve(sql, { ...attempt, tenantId }, '0.7');
    await refusedJob('0.5');
    const budgetOf = async (target: WhyTarget) =>
      (await why(sql, target)).causes.find(({ code }) => code === 'budget');
    expect(await budgetOf({ jobType: step })).toMatchObject({
      says: `1 job of ${step} is parked until a budget has room or a time has come, by tenant: ${tenantId} (1)`,
    });
    await refusedJob('0.4');
    expect(await budgetOf({ tenantId })).toMatchObject({
      says: expect.stringMatching(/^2 jobs are parked and need \$0\.9; \$0\.3 is available/),
      lift: `purser budget top-up --tenant=${tenantId} --usd 0.6 --reason REASON`,
    });
    expect(await budgetOf({})).toMatchObject({
      says: `2 jobs are parked until a budget has room or a time has come, by tenant: ${tenantId} (2)`,
      lift: `purser why --tenant=${tenantId}`,
    });
    expect(await budgetOf({ jobType: other })).toBeUndefined();
    // However many of other types were parked after them.
    await sql`
      insert into purser.parked (job_id, tenant_id, job_type, priority, scheduled_for, needed_usd, give_up_at)
      select 1000000000 + n, ${tenantId}, ${other}, 0, now(), 1, now() from generate_series(1, 1001) n`;
    expect(await budgetOf({ jobType: step })).toMatchObject({ facts: { parked: 2, tenants: 1 } });
    expect(await budgetOf({ jobType: other })).toMatchObject({ facts: { parked: 1_000 } });
    await sql`delete from purser.parked where job_id > 1000000000`;
  });

  it('lacks room in a scope of its tenant, of dollars or of calls', async () => {
    const scope = {
      tenantId,
      kind: 'model',
      subject: 'test-model',
      period: 'day',
      hard: true,
      by: 'bob',
    } as const;
    await setScope(sql, { ...scope, limitUsd: '0.6' });
    const attempt = await runningJob(sql, tenantId);
    await reserve(sql, { ...attempt, tenantId }, '0.2');
    expect(await firstOf(await refusedJob('0.5'))).toMatchObject({
      code: 'budget',
      says: expect.stringContaining(`in the daily limit of model test-model of tenant ${tenantId}`),
      lift: `purser scopes set --tenant=${tenantId} --kind model --subject=test-model --each day --limit USD`,
      facts: { availableUsd: '0.4', limitUsd: '0.6' },
    });
    await setScope(sql, { ...scope, limitUsd: '1', limitCalls: 1 });
    expect(await firstOf(await refusedJob('0.1'))).toMatchObject({
      code: 'budget',
      says: expect.stringContaining('0 of its 1 calls are left'),
    });
  });

  it('lacks room in a limit of the whole fleet', async () => {
    const model = { model: 'fleet-model' };
    const attempt = await runningJob(sql, tenantId);
    await setFleetScope(sql, {
      kind: 'model',
      subject: model.model,
      period: 'day',
      limitUsd: '0.6',
      hard: true,
      by: 'bob',
    });
    await reserve(sql, { ...attempt, tenantId }, '0.2', model);
    expect(await firstOf(await refusedJob('0.5', model))).toMatchObject({
      code: 'budget',
      says: expect.stringContaining('in the daily limit of all tenants for model fleet-model'),
      lift: 'purser fleet-scopes set --kind model --model=fleet-model --each day --limit USD',
      facts: { neededUsd: '0.5', availableUsd: '0.4' },
    });
  });

  it('meets a stop of LLM calls: by whom, since when and why', async () => {
    const jobId = await refusedBy(() =>
      setStop(sql, { model: 'test-model', aborts: false, reason: 'price doubled', by: 'carol' }),
    );
    expect(await firstOf(jobId)).toMatchObject({
      code: 'llm_stopped',
      says: expect.stringMatching(
        /^LLM calls of model test-model are stopped by carol since 2\S+: price doubled$/,
      ),
      lift: 'purser llm resume --model=test-model',
    });
  });

  const breaker = {
    kind: 'model',
    key: 'test/test-model',
    provider: 'test',
    name: 'test-model',
  } as const;
  const name = 'model:test/test-model';
  it('meets an open circuit breaker', async () => {
    const opened = { ...breaker, error: 'llm_overloaded', tenants: 3 };
    await changeBreakers(sql, [opened] as never, 'worker-1');
    const attempt = await runningJob(sql, tenantId);
    const call = { ...attempt, tenantId, provider: 'test', model: 'test-model', neededUsd: '0.1' };
    await recordRefusal(sql, { ...call, breakers: [name] });
    const refused = { ...call, breakers: [name], lastError: 'llm_overloaded', waitMs: 1_000 };
    expect(await firstOf(await throws(attempt, circuitOpen(refused)))).toMatchObject({
      code: 'llm_circuit_open',
      says: expect.stringMatching(
        /^circuit breaker model:test\/test-model is open until 2.*llm_overloaded/,
      ),
      lift: `purser llm breakers reset ${name}`,
    });
  });

  it('was parked by its handler', async () => {
    const attempt = await runningJob(sql, tenantId);
    const facts = { attempt, handler: { onBudget: 'park' }, now: new Date() } as never;
    const end = endOfReturn(park({ neededUsd: '0.5', until: inAnHour(), reason: 'asked' }), facts);
    await finish(sql, attempt, end);
    expect(await firstOf(attempt.jobId)).toMatchObject({
      code: 'parked_by_handler',
      says: expect.stringMatching(/^its handler parked it \(asked\): until 2/),
    });
  });

  it('wakes where what kept it is gone', async () => {
    const stop = { model: 'test-model' };
    const jobId = await refusedBy(() =>
      setStop(sql, { ...stop, aborts: false, reason: 'x', by: 'carol' }),
    );
    await sql`delete from llm_stops`;
    expect(await codesOf(jobId)).toEqual(['waking']);
  });
});
