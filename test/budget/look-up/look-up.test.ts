/** Calls of unknown outcome are looked up by an app's hook: which are asked for, when, and what its answers settle. */
import { expect, it } from 'vitest';
import { lookUpJobType } from '../../../src/budget/look-up/answer.ts';
import { endLookUps, startLookUps } from '../../../src/budget/look-up/look-up.ts';
import { resolveUnknown } from '../../../src/budget/resolve.ts';
import type { LookUpUsage, UnknownCall } from '../../../src/handlers/usage-look-up.ts';
import { begin, claim, finish } from '../../jobs/job-steps.ts';
import { countersOf } from '../../support/holds.ts';
import { addTenant } from '../../support/tenants.ts';
import { faults, inMinutes, useUnknownCalls } from './unknown-calls.ts';

const db = useUnknownCalls();
const { unknownCall, work, stateOf } = db;

it('settles by what the hook says, at the pinned price, and leaves what it does not know or cannot price', async () => {
  const tenantId = await addTenant(db.sql, { limitUsd: '100' });
  const answers: Record<string, unknown> = {
    counted: { usage: { input: 100_000, cache_read: 100_000, output: 50_000 } },
    unbilled: 'not billed',
    told: { costUsd: '2.5' },
    silent: undefined,
    unpriced: { usage: { input: 1, output_audio: 5 } },
    wrong: { usage: { inputs: 5 } },
    both: { usage: {}, costUsd: '1' },
    huge: { usage: { input: 1e9, output: 1e9 } },
  };
  const ids: Record<string, string> = {};
  for (const name of Object.keys(answers)) ids[name] = await unknownCall(tenantId, 6, name);
  const other = await addTenant(db.sql, { limitUsd: '100' });
  const failing = await unknownCall(other, 6, 'failing');

  expect(await startLookUps(db.sql)).toBe(9);
  const asked: UnknownCall[] = [];
  const said = await work((call) => {
    asked.push(call);
    if (call.requestId === 'failing') throw new TypeError('401 for key sk-very-secret');
    return Promise.resolve(answers[call.requestId ?? '']) as ReturnType<LookUpUsage>;
  });
  expect(asked).toHaveLength(9);
  expect(asked.find(({ requestId }) => requestId === 'counted')).toEqual({
    tenantId,
    reservationId: ids['counted'],
    provider: 'openai',
    seller: undefined,
    model: 'test-model',
    providerKey: 'platform',
    requestId: 'counted',
    clientRequestId: ids['counted'],
    sentAt: expect.any(Date),
    signal: expect.any(AbortSignal),
  });
  expect(said).toContain('look_up_failed');
  expect(said).toContain('TypeError');
  expect(said).not.toContain('sk-very-secret');
  expect(said.match(/look_up_answer_invalid/g)).toHaveLength(2);

  expect(await endLookUps(db.sql, faults().each)).toBe(4);
  const states = await Promise.all(
    Object.entries(ids).map(async ([name, id]) => [name, await stateOf(id)]),
  );
  expect(Object.fromEntries(states)).toEqual({
    counted: 'APPLIED 0.25',
    unbilled: 'APPLIED 0',
    told: 'APPLIED 2.5',
    silent: 'UNKNOWN',
    unpriced: 'UNKNOWN',
    wrong: 'UNKNOWN',
    both: 'UNKNOWN',
    // In full, however far beyond its hold.
    huge: 'APPLIED 2000',
  });
  expect(await stateOf(failing)).toBe('UNKNOWN');
  expect(await countersOf(db.sql, tenantId)).toMatchObject({ spent: '2002.75', unknown: '4' });
  const evidence = await db.sql`
    select evidence, set_by from llm_adjustments where reservation_id = ${ids['told'] ?? ''}`;
  expect(evidence).toEqual([{ evidence: 'look-up', set_by: 'look-up' }]);
  expect(await endLookUps(db.sql, faults().each)).toBe(0);
});

it('asks for a call once at a time, after growing pauses, from 5 minutes to 48 hours', async () => {
  const tenantId = await addTenant(db.sql, { limitUsd: '100' });
  const others = [await unknownCall(tenantId, 4), await unknownCall(tenantId, 48 * 60 + 1)];
  expect(await startLookUps(db.sql)).toBe(0);
  const call = await unknownCall(tenantId, 6);
  await db.sql`update heartbeats set beat_at = now() - interval '2 minutes'`;
  expect(await startLookUps(db.sql)).toBe(0);
  await db.sql`update heartbeats set beat_at = now(), job_types = array['other']`;
  expect(await startLookUps(db.sql)).toBe(0);
  await db.sql`update heartbeats set job_types = array[${lookUpJobType}]`;
  expect(await startLookUps(db.sql)).toBe(1);
  // However long its job waits.
  for (const reservationId of others) {
    await resolveUnknown(db.sql, { reservationId, costNanoUsd: 0n, evidence: 'log' });
  }
  expect(await startLookUps(db.sql, inMinutes(600))).toBe(0);
  const pauses: number[] = [];
  for (let tries = 1; tries <= 9; tries += 1) {
    const wrong = await work(() => Promise.resolve(undefined));
    expect([wrong, await endLookUps(db.sql, faults().each)]).toEqual(['', 0]);
    const [row] = await db.sql<{ minutes: number; job_id: string | null }[]>`
      select round(extract(epoch from next_try_at - now()) / 60)::int as minutes, job_id from llm_look_ups`;
    expect(row?.job_id).toBeNull();
    pauses.push(row?.minutes ?? 0);
    await db.sql`update llm_look_ups set next_try_at = now() + interval '1 minute'`;
    expect(await startLookUps(db.sql)).toBe(0);
    await db.sql`update llm_look_ups set next_try_at = now()`;
    expect(await startLookUps(db.sql)).toBe(1);
  }
  expect(pauses).toEqual([5, 10, 20, 40, 80, 160, 320, 360, 360]);
  expect(await stateOf(call)).toBe('UNKNOWN');
});

it('started by two schedulers at once asks for each call once, and settles each once', async () => {
  const tenants = [
    await addTenant(db.sql, { limitUsd: '100' }),
    await addTenant(db.sql, { limitUsd: '100' }),
  ];
  for (const tenantId of tenants) {
    for (let made = 0; made < 25; made += 1) await unknownCall(tenantId);
  }
  const started = await Promise.all(Array.from({ length: 4 }, () => startLookUps(db.wide)));
  expect(started.reduce((sum, n) => sum + n, 0)).toBe(50);
  const asked: string[] = [];
  await work(({ reservationId }) => {
    asked.push(reservationId);
    return Promise.resolve('not billed' as const);
  });
  expect([asked.length, new Set(asked).size]).toEqual([50, 50]);
  const jobs =
    await db.sql`select from jobs where job_type = ${lookUpJobType} and outcome = 'completed'`;
  expect(jobs.length).toBeGreaterThanOrEqual(4);
  const settled = await Promise.all(
    Array.from({ length: 4 }, () => endLookUps(db.wide, faults().each)),
  );
  expect(settled.reduce((sum, n) => sum + n, 0)).toBe(50);
  const left = await db.sql`select from llm_reservations where status = 'UNKNOWN'`;
  expect(left).toHaveLength(0);
  expect(await db.sql`select from llm_look_ups`).toHaveLength(0);
});

it('does not override what was resolved meanwhile, and goes on after a job that was lost or failed', async () => {
  const tenantId = await addTenant(db.sql, { limitUsd: '100' });
  const [resolved, lost, failed] = [
    await unknownCall(tenantId),
    await unknownCall(tenantId),
    await unknownCall(tenantId),
  ];
  await startLookUps(db.sql);
  await work(() => Promise.resolve({ costUsd: '9' }));
  const invoice = { reservationId: resolved, costNanoUsd: 10n ** 8n, evidence: 'invoice' };
  await resolveUnknown(db.sql, invoice);
  await db.sql`update llm_look_ups set job_id = -1 where reservation_id = ${lost}`;
  expect(await endLookUps(db.sql, faults().each)).toBe(1);
  expect(await Promise.all([resolved, lost, failed].map((id) => stateOf(id)))).toEqual([
    'APPLIED 0.1',
    'UNKNOWN',
    'APPLIED 9',
  ]);
  const again = await db.sql`select job_id, reservation_id from llm_look_ups`;
  expect(again).toEqual([{ job_id: null, reservation_id: lost }]);
  await db.sql`update llm_look_ups set next_try_at = now()`;
  expect(await startLookUps(db.sql)).toBe(1);
  const [job] = await claim(db.sql, 1, lookUpJobType);
  if (job === undefined) throw new Error('no job');
  // Who reads the end of an earlier job late does not end this one.
  const [late] = await db.sql<{ outcome: string }[]>`
    select outcome from purser.end_look_up(${lost}, -1, 0, '[]', null)`;
  expect(late?.outcome).toBe('repeated');
  const error = { class: 'fatal', code: 'test', message: 'test' } as const;
  await finish(db.sql, await begin(db.sql, job), { toState: 'dead_letter', error });
  expect(await endLookUps(db.sql, faults().each)).toBe(0);
  expect(await db.sql`select from llm_look_ups where job_id is null`).toHaveLength(1);
});

it('a hook that hangs is left after its time, and its next call is asked for', async () => {
  const tenantId = await addTenant(db.sql, { limitUsd: '100' });
  const calls = [await unknownCall(tenantId), await unknownCall(tenantId)];
  await startLookUps(db.sql);
  let asked = 0;
  const said = await work((call) => {
    asked += 1;
    if (asked === 2) return Promise.resolve('not billed');
    return new Promise(() => call.signal.addEventListener('abort', () => {}));
  }, 50);
  expect(said).toContain('"code":"timeout"');
  expect(await endLookUps(db.sql, faults().each)).toBe(1);
  const states = await Promise.all(calls.map((id) => stateOf(id)));
  expect(states.toSorted()).toEqual(['APPLIED 0', 'UNKNOWN']);
});

it('a tenant whose backlog is full, or whose row is locked, holds up no other, and an amount beyond all is named', async () => {
  const [full, locked, free] = [
    await addTenant(db.sql, { limitUsd: '100' }),
    await addTenant(db.sql, { limitUsd: '100' }),
    await addTenant(db.sql, { limitUsd: '100' }),
  ];
  for (const tenantId of [full, locked]) await unknownCall(tenantId);
  const dear = await unknownCall(free);
  const cheap = await unknownCall(free);
  await db.sql`update tenants set max_backlog_jobs = 0 where id = ${full}`;
  await db.wide.begin(async (tx) => {
    await tx`select from tenants where id = ${locked} for update`;
    expect(await startLookUps(db.sql)).toBe(2);
  });
  await db.sql`
    update llm_reservations set price = jsonb_set(price, '{rates,input,usd}', '"999999999"') where id = ${dear}`;
  await work(({ reservationId }) =>
    Promise.resolve({ usage: { input: reservationId === dear ? 1e9 : 1 } }),
  );
  const { ids, each } = faults();
  expect(await endLookUps(db.sql, each)).toBe(1);
  expect([ids, await stateOf(dear), await stateOf(cheap)]).toEqual([
    [dear],
    'UNKNOWN',
    'APPLIED 0.000001',
  ]);
  await db.sql`update tenants set max_backlog_jobs = null where id = ${full}`;
  expect(await startLookUps(db.sql, inMinutes(6))).toBe(3);
});
