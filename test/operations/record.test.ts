/** The record of acts: one transaction with its act, exact under concurrency, and never changed on any level. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { tenantSql } from '../../src/db/tenant.ts';
import { listActs, recordAct } from '../../src/operations/audit.ts';
import type { Operator } from '../../src/operations/audit.ts';
import { cancelAs } from '../../src/operations/cancel.ts';
import { replayAs } from '../../src/operations/dead-letters.ts';
import { setLimitAs } from '../../src/operations/limits.ts';
import { stopCallsAs } from '../../src/operations/money/calls.ts';
import { setFleetScopeAs, setScopeAs } from '../../src/operations/money/scopes.ts';
import { pauseAs } from '../../src/operations/pauses.ts';
import { addTenant } from '../support/tenants.ts';
import { addJobType, finish, runningJob } from '../jobs/job-steps.ts';
import { levels, openLevel } from '../tenancy/level-database.ts';
import type { LevelDatabase } from '../tenancy/level-database.ts';

const alice: Operator = { name: 'alice', proof: 'asserted', door: 'cli', host: 'test' };

describe.each(levels)('at level %s', (level) => {
  let fixture: LevelDatabase;
  let tenantId: string;
  beforeAll(async () => {
    fixture = await openLevel(level);
    const { system } = fixture.database;
    await addJobType(system);
    tenantId = await addTenant(system);
    await system.begin((tx) => recordAct(tx, alice, { act: 'test', tenantId }));
  });
  afterAll(() => fixture.close());

  it('the system can add and read acts, and change or remove none', async () => {
    const { system } = fixture.database;
    expect(await listActs(system, { limit: 10 })).toMatchObject([{ act: 'test', name: 'alice' }]);
    for (const change of [
      system`update public.operator_acts set operator = 'mallory'`,
      system`delete from public.operator_acts`,
      system`delete from public.operator_acts where false`,
      system`truncate public.operator_acts`,
    ]) {
      await expect(change).rejects.toMatchObject({ code: '42501' });
    }
    expect(await listActs(system, { limit: 10 })).toMatchObject([{ act: 'test', name: 'alice' }]);
  });

  it('a tenant can neither read, add, change nor remove one', async () => {
    const { token } = await runningJob(fixture.database.system, tenantId);
    const sql = tenantSql(fixture.database.tenant, { token });
    const read = await sql`select * from public.operator_acts`.then(
      (rows) => rows.length,
      () => 0,
    );
    expect(read).toBe(0);
    const statements = [
      () => sql`insert into public.operator_acts (operator, proof, door, act, tenant_id)
        values ('mallory', 'asserted', 'cli', 'test', ${tenantId})`,
      () => sql`update public.operator_acts set operator = 'mallory'`,
      () => sql`delete from public.operator_acts`,
      () => sql`truncate public.operator_acts`,
    ];
    for (const statement of statements)
      await expect(statement()).rejects.toThrow(
        /denied|append-only|rls_enforcement_failed|row-level/,
      );
    expect(await listActs(fixture.database.system, { limit: 10 })).toHaveLength(1);
  });
});

describe('an act and its row', () => {
  let fixture: LevelDatabase;
  beforeAll(async () => {
    fixture = await openLevel('L2');
    await addJobType(fixture.database.system);
  });
  afterAll(() => fixture.close());

  it('are undone together, whichever of the two fails', async () => {
    const { system } = fixture.database;
    const tenantId = await addTenant(system);
    const attempt = await runningJob(system, tenantId);
    const error = { class: 'fatal', code: 'test', message: 'test' } as const;
    await finish(system, attempt, { toState: 'dead_letter', error });
    const { jobId } = attempt;
    const rolledBack = system.begin(async (tx) => {
      await replayAs(tx, alice, { jobId });
      throw new Error('rolled back');
    });
    await expect(rolledBack).rejects.toThrow('rolled back');
    // A name that the record refuses.
    const unseen = { ...alice, name: 'al\u200bice' };
    await expect(replayAs(system, unseen, { jobId })).rejects.toThrow(/invisible/);
    await expect(
      pauseAs(system, { ...alice, name: 'x'.repeat(501) }, { scope: 'all', name: '', reason: 'x' }),
    ).rejects.toThrow(/longer than 500/);
    expect(await listActs(system, { tenantId, limit: 10 })).toEqual([]);
    const [left] = await system<{ pauses: number; replays: number }[]>`
      select (select count(*)::int from pauses) as pauses,
        (select count(*)::int from jobs where replay_of = ${jobId}) as replays`;
    expect(left).toEqual({ pauses: 0, replays: 0 });
    expect(await replayAs(system, alice, { jobId })).toMatchObject({ created: true });
    expect(await listActs(system, { jobId, limit: 10 })).toHaveLength(1);
  });

  it('a running job that is asked to stop again and again: one row', async () => {
    const { system } = fixture.database;
    const { jobId } = await runningJob(system, await addTenant(system));
    for (const reason of ['first', 'second', 'third']) {
      expect(await cancelAs(system, alice, { jobId, reason })).toMatchObject({
        outcome: 'requested',
      });
    }
    expect(await listActs(system, { jobId, limit: 10 })).toMatchObject([
      { act: 'cancel', reason: 'first', before: { state: 'running' }, after: { requested: true } },
    ]);
  });

  it('replayed by many at once: one job, one row', async () => {
    const { system } = fixture.database;
    const attempt = await runningJob(system, await addTenant(system));
    const error = { class: 'fatal', code: 'test', message: 'test' } as const;
    await finish(system, attempt, { toState: 'dead_letter', error });
    const { jobId } = attempt;
    const all = await Promise.all([1, 2, 3, 4].map(() => replayAs(system, alice, { jobId })));
    expect(all.filter(({ created }) => created)).toHaveLength(1);
    expect(await listActs(system, { jobId, limit: 10 })).toHaveLength(1);
  });

  const at = (n: number) => ({ reason: `change ${n}` });
  it.each([
    [
      'limit_set',
      (sql, tenantId, n) =>
        setLimitAs(sql, alice, { target: { tenantId }, values: { maxRunning: n } }),
    ],
    [
      'pause',
      (sql, tenantId, n) => pauseAs(sql, alice, { scope: 'tenant', name: tenantId, ...at(n) }),
    ],
    [
      'llm_stop',
      (sql, tenantId, n) => stopCallsAs(sql, alice, { tenantId, aborts: false, ...at(n) }),
    ],
    [
      'scope_set',
      (sql, tenantId, n) =>
        setScopeAs(sql, alice, {
          tenantId,
          kind: 'tenant',
          period: 'day',
          limitUsd: `${n}`,
          hard: true,
        }),
    ],
    [
      'fleet_scope_set',
      (sql, tenantId, n) =>
        setFleetScopeAs(sql, alice, {
          kind: 'model',
          subject: tenantId,
          period: 'day',
          limitUsd: `${n}`,
          hard: true,
        }),
    ],
  ] satisfies [
    string,
    (sql: LevelDatabase['database']['system'], tenantId: string, n: number) => Promise<unknown>,
  ][])(
    'of operators who change the same thing at once form a chain, each from the values of the one before: %s',
    async (act, change) => {
      const { system } = fixture.database;
      const tenantId = await addTenant(system);
      await Promise.all([1, 2, 3, 4].map((n) => change(system, tenantId, n)));
      const rows = (await listActs(system, { act, limit: 10 })).toReversed();
      expect(rows).toHaveLength(4);
      expect(rows[0]?.before).toBeNull();
      rows.slice(1).forEach((row, index) => {
        expect(row.before).toMatchObject(rows[index]?.after ?? {});
      });
    },
  );
});
