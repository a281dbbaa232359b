/** A tenant whose rows or limits others hold at its turn is owed what it missed, exactly, and no other loses by it. */
import { describe, expect, it } from 'vitest';
import { claimWaitingJobs } from '../../../src/jobs/dispatch.ts';
import { createFailingTenants } from '../../../src/scheduler/failing-tenants.ts';
import { silentLog } from '../../support/llm-attempt.ts';
import { claim, flood, step } from '../job-steps.ts';
import { other, useDispatchDatabase } from './dispatch-database.ts';

const db = useDispatchDatabase();

async function add(ids: readonly string[], weight = 1, jobs = 60, jobType = step): Promise<void> {
  await db.sql`
    insert into tenants (id, plan, weight) select t.id, 'free', ${weight} from unnest(${ids}::text[]) t (id)
    on conflict do nothing`;
  for (const id of ids) await flood(db.sql, id, jobs, { jobType });
}

const served = async (room: number, jobType = step): Promise<string> =>
  (await claim(db.sql, room, jobType)).map(({ tenantId }) => tenantId).join('');

/** What a round gives while another transaction holds all jobs of these tenants. */
async function servedBeside(ids: readonly string[], room: number): Promise<string> {
  let tenants = '';
  await db.system.begin(async (tx) => {
    await tx`select from purser.waiting where tenant_id = any(${ids}::text[]) for update`;
    tenants = await served(room);
  });
  return tenants;
}

describe('what is owed', () => {
  it('is the rest of a turn, not a whole one', async () => {
    await add(['a'], 20);
    await add(['b']);
    expect(await served(19)).toBe('a'.repeat(19));
    expect(await servedBeside(['a'], 1)).toBe('b');
    expect(await served(22)).toBe(`a${'a'.repeat(20)}b`);
  });

  it('is a whole turn, also in rounds of one job', async () => {
    await add(['a'], 4);
    await add(['b']);
    expect(await servedBeside(['a'], 1)).toBe('b');
    const rounds = [];
    for (let round = 0; round < 9; round += 1) rounds.push(await served(1));
    // Four that it is owed, and its next turn.
    expect(rounds.join('')).toBe('aaaaaaaab');
  });

  it('comes before the second turn of any other', async () => {
    const ids = 'abcdefghij'.split('');
    await add([...ids, 'z']);
    for (let round = 0; round < 3; round += 1) await servedBeside(ids, 4);
    const turns = new Map<string, number>();
    for (let round = 0; round < 6; round += 1) {
      for (const id of await served(4)) turns.set(id, (turns.get(id) ?? 0) + 1);
    }
    const counts = ids.map((id) => turns.get(id) ?? 0);
    expect(Math.min(...counts)).toBeGreaterThanOrEqual(1);
    expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(2);
  });

  it('is the same where another round holds the limit of the tenant', async () => {
    await add(['a'], 20);
    await add(['a'], 20, 60, other);
    await add(['b']);
    await db.sql`insert into job_limits (tenant_id, max_running) values ('a', 1000)`;
    expect(await served(19)).toBe('a'.repeat(19));
    await db.system.begin(async (tx) => {
      await claimWaitingJobs(tx, [{ jobType: other, capacity: 1 }]);
      expect(await served(1)).toBe('b');
    });
    expect(await served(22)).toBe(`a${'a'.repeat(20)}b`);
  });
});

it('three hundred tenants whose limits another round holds all have their turn before others have a second one', async () => {
  const named = (letter: string, count: number) =>
    Array.from({ length: count }, (_, n) => `${letter}${String(n).padStart(3, '0')}`);
  const [first, limited, last] = [named('a', 200), named('m', 300), named('z', 200)];
  const all = [...first, ...limited, ...last];
  await db.sql`insert into tenants (id, plan) select unnest(${all}::text[]), 'free'`;
  await db.sql`
    insert into background_jobs (tenant_id, job_type, max_attempts, give_up_at)
    select t.id, y.type, 3, now() + interval '1 day'
    from unnest(${all}::text[]) t (id), unnest(${[step, other]}::text[]) y (type), generate_series(1, 5)
    where y.type = ${other} or t.id = any(${limited}::text[])`;
  await db.sql`
    insert into job_limits (tenant_id, max_running) select unnest(${limited}::text[]), 1000`;
  const turns = new Map<string, number>(all.map((id) => [id, 0]));
  const take = async (room: number) => {
    for (const { tenantId } of await claim(db.sql, room, other)) {
      turns.set(tenantId, (turns.get(tenantId) ?? 0) + 1);
    }
  };
  await take(200);
  await db.system.begin(async (tx) => {
    expect(await claimWaitingJobs(tx, [{ jobType: step, capacity: 300 }])).toHaveLength(300);
    await take(200);
  });
  for (let round = 0; round < 5; round += 1) await take(100);
  const counts = (ids: readonly string[]) => ids.map((id) => turns.get(id) ?? 0);
  expect(Math.min(...counts(limited))).toBe(1);
  expect(Math.max(...counts(first), ...counts(limited))).toBe(1);
});

it('a row that fails every claim is found, and starves nobody, wherever the turns stand', async () => {
  const ids = 'abcdefghijklmnopqrstuvwxyz'
    .split('')
    .flatMap((letter) => [`${letter}1`, `${letter}2`]);
  await db.sql`
    create function public.poison() returns trigger language plpgsql as $$
    begin
      if new.tenant_id = 'm-poison' then raise exception 'poison'; end if;
      return new;
    end $$`;
  await db.sql`
    create trigger poison before insert on purser.in_flight for each row execute function public.poison()`;
  for (const turn of [
    { last: 'm-poison', left: 3 },
    { last: 'm1', left: 0 },
  ]) {
    await add(ids, 1, 20);
    await add(['m-poison'], 4, 5);
    await db.sql`
      insert into purser.dispatch_turns (job_type, last_tenant_id, left_of_turn)
      values (${step}, ${turn.last}, ${turn.left})
      on conflict (job_type) do update
        set last_tenant_id = excluded.last_tenant_id, left_of_turn = excluded.left_of_turn`;
    const failing = createFailingTenants(silentLog);
    const tenants = new Set<string>();
    for (let round = 0; round < 20; round += 1) {
      const jobs = await claimWaitingJobs(db.sql, [{ jobType: step, capacity: 5 }], failing);
      for (const { tenantId } of jobs) tenants.add(tenantId);
    }
    expect([...failing.list(), tenants.size]).toEqual(['m-poison', ids.length]);
    await db.sql`delete from tenants`;
  }
});
