/** Tenants share the room of a type by their weights; within a tenant a low priority is late, not never. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { addJob, addJobType, claim, flood } from '../job-steps.ts';

let test: TestDatabase;

beforeAll(async () => {
  test = await freshDatabase();
  await addJobType(test.sql);
});
afterEach(async () => {
  await test.sql`delete from tenants`;
  await test.sql`delete from purser.dispatch_turns`;
});
afterAll(() => test.close());

async function add(id: string, weight: number | null, jobs = 200, plan = 'free'): Promise<void> {
  await test.sql`insert into tenants (id, plan, weight) values (${id}, ${plan}, ${weight})`;
  if (jobs > 0) await flood(test.sql, id, jobs);
}

/** The tenants of the jobs that rounds of so much room dispatch. */
async function served(...rooms: readonly number[]): Promise<string> {
  const tenants: string[] = [];
  for (const room of rooms) {
    tenants.push(...(await claim(test.sql, room)).map(({ tenantId }) => tenantId));
  }
  return tenants.join('');
}

describe('a turn is as many jobs as the weight', () => {
  it('in one round', async () => {
    await add('a', 3);
    await add('b', 1);
    await add('c', 2);
    expect(await served(15)).toBe('aaabccaaabccaaa');
  });

  it('in rounds of one job, which each take a part of a turn', async () => {
    await add('a', 3);
    await add('b', 1);
    await add('c', 2);
    expect(await served(...Array.from({ length: 15 }, () => 1))).toBe('aaabccaaabccaaa');
  });

  it('in rounds of every size', async () => {
    await add('a', 3);
    await add('b', 1);
    const rooms = Array.from({ length: 40 }, (_, round) => 1 + (round % 7));
    const turns = await served(...rooms);
    const whole = turns.slice(0, turns.length - (turns.length % 4));
    expect(whole).toBe('aaab'.repeat(whole.length / 4));
  });

  it('also where a round goes around more than once and ends within a turn', async () => {
    await add('a', 5);
    await add('b', 2);
    expect(await served(9, 3, 8)).toBe('aaaaabbaaaaabbaaaaab');
  });
});

it('the weight is that of the plan, unless the tenant has one of its own', async () => {
  await test.sql`insert into plans (plan, monthly_limit_usd, weight) values ('heavy', 1, 4)`;
  await add('a', null, 200, 'heavy');
  await add('b', 2, 200, 'heavy');
  await add('c', null, 200);
  expect(await served(14)).toBe('aaaabbcaaaabbc');
});

it('a turn that its tenant cannot use is over: nothing is saved up, and nobody waits for it', async () => {
  await add('a', 4, 2);
  await add('b', 1);
  expect(await served(1, 3)).toBe('aabb');
  await flood(test.sql, 'a', 10);
  expect(await served(6)).toBe('aaaaba');
});

it('a tenant that comes while another has its turn is served after that turn', async () => {
  await add('b', 10);
  expect(await served(3)).toBe('bbb');
  await add('c', 1);
  await add('a', 1);
  expect(await served(9)).toBe('bbbbbbbca');
});

describe('within a tenant', () => {
  const minutesAgo = (minutes: number): Date => new Date(Date.now() - minutes * 60_000);

  it('a level of priority is worth a minute', async () => {
    await add('a', 1, 0);
    const old = await addJob(test.sql, 'a', { runAt: minutesAgo(6) });
    const preferred = await addJob(test.sql, 'a', { priority: 5, runAt: minutesAgo(0) });
    const between = await addJob(test.sql, 'a', { runAt: minutesAgo(4) });
    const order = (await claim(test.sql)).map(({ jobId }) => jobId);
    expect(order).toEqual([old, preferred, between]);
  });

  it('a low priority has its turn, although jobs of a high one keep coming', async () => {
    await add('a', 1, 0);
    const low = await addJob(test.sql, 'a', { priority: -10, runAt: minutesAgo(30) });
    let rounds = 0;
    for (let age = 30; age >= 0; age -= 1) {
      await addJob(test.sql, 'a', { priority: 10, runAt: minutesAgo(age) });
      rounds += 1;
      const [job] = await claim(test.sql, 1);
      if (job?.jobId === low) break;
    }
    // Nineteen minutes later a new job of the high priority is still preferred, after twenty no more.
    expect(rounds).toBe(21);
  });
});
