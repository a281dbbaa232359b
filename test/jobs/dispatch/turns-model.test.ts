/** Dispatch beside a model of turns: one job after another, tenant by tenant. Weights, limits and arrivals at random. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { addJobType, claim, step } from '../job-steps.ts';

let test: TestDatabase;

beforeAll(async () => {
  test = await freshDatabase();
  await addJobType(test.sql);
});
afterAll(() => test.close());

/** The same numbers in every run. */
let seed = 7;
function random(below: number): number {
  seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
  return Math.floor(seed / 256) % below;
}
const oneOf = <T>(values: readonly T[]): T => values[random(values.length)] as T;

interface Tenant {
  readonly id: string;
  weight: number;
  waiting: number;
  inFlight: number;
  readonly limit: number;
}

/** Whose turn it is, and what is left of it. */
class Turns {
  #last = '';
  #left = 0;
  readonly #tenants: readonly Tenant[];

  constructor(tenants: readonly Tenant[]) {
    this.#tenants = tenants;
  }

  changeWeight(tenant: Tenant, weight: number): void {
    tenant.weight = weight;
    if (tenant.id === this.#last) this.#left = Math.min(this.#left, weight);
  }

  /** The tenants of the next jobs. */
  take(room: number): string[] {
    const taken: string[] = [];
    const mayRun = ({ waiting, inFlight, limit }: Tenant) => waiting > 0 && inFlight < limit;
    const current = this.#tenants.find(({ id }) => id === this.#last);
    const isCurrent = this.#left > 0 && current !== undefined && current.waiting > 0;
    const others = this.#tenants.filter((one) => mayRun(one) && !(isCurrent && one === current));
    const after = others.filter(({ id }) => id > this.#last);
    const around = others.filter(({ id }) => id <= this.#last);
    const lap = [...(isCurrent ? [current] : []), ...after, ...around];
    while (taken.length < room) {
      const last = this.#tenants.find(({ id }) => id === this.#last);
      const goesOn = this.#left > 0 && last !== undefined && mayRun(last);
      const next = goesOn
        ? last
        : (this.#tenants.find((one) => one.id > this.#last && mayRun(one)) ??
          this.#tenants.find(mayRun));
      if (next === undefined) {
        this.#left = 0;
        this.#last = lap.at(-1)?.id ?? this.#last;
        return taken;
      }
      if (!goesOn) this.#left = next.weight;
      this.#last = next.id;
      this.#left -= 1;
      next.waiting -= 1;
      next.inFlight += 1;
      taken.push(next.id);
    }
    return taken;
  }
}

async function begin(hasLimits: boolean): Promise<Tenant[]> {
  await test.sql`delete from job_limits`;
  await test.sql`delete from tenants`;
  await test.sql`delete from purser.dispatch_turns`;
  const tenants = Array.from({ length: 1 + random(30) }, (_, n) => ({
    id: `t${String(n).padStart(2, '0')}`,
    weight: oneOf([1, 1, 2, 3, 7, 20]),
    waiting: 0,
    inFlight: 0,
    limit: hasLimits && random(2) === 1 ? random(6) : Infinity,
  }));
  for (const { id, weight, limit } of tenants) {
    await test.sql`insert into tenants (id, plan, weight) values (${id}, 'free', ${weight})`;
    if (limit < Infinity) {
      await test.sql`insert into job_limits (tenant_id, max_running) values (${id}, ${limit})`;
    }
  }
  return tenants;
}

async function arrive(tenants: readonly Tenant[]): Promise<void> {
  const counts = tenants.map(() => (random(3) === 0 ? random(12) : 0));
  for (const [index, tenant] of tenants.entries()) tenant.waiting += counts[index] ?? 0;
  await test.sql`
    insert into background_jobs (tenant_id, job_type, max_attempts, give_up_at)
    select t.id, ${step}, 3, now() + interval '1 day'
    from unnest(${tenants.map(({ id }) => id)}::text[], ${counts}::int[]) t (id, jobs), generate_series(1, t.jobs)`;
}

async function end(tenant: Tenant): Promise<void> {
  const ended = await test.sql`
    delete from purser.in_flight where job_id in (
      select job_id from purser.in_flight where tenant_id = ${tenant.id} limit 2)`;
  tenant.inFlight -= ended.count;
}

it('serves exactly whose turn it is, in thirty games', async () => {
  let compared = 0;
  for (let game = 0; game < 30; game += 1) {
    const hasLimits = game % 3 === 2;
    const tenants = await begin(hasLimits);
    const turns = new Turns(tenants);
    for (let round = 0; round < 25; round += 1) {
      await arrive(tenants);
      if (random(5) === 0) {
        const tenant = oneOf(tenants);
        turns.changeWeight(tenant, 1 + random(9));
        await test.sql`update tenants set weight = ${tenant.weight} where id = ${tenant.id}`;
      }
      if (hasLimits && random(2) === 1) await end(oneOf(tenants));
      const room = 1 + random(oneOf([3, 12, 60]));
      const served = (await claim(test.sql, room)).map(({ tenantId }) => tenantId);
      expect([game, round, room, ...served]).toEqual([game, round, room, ...turns.take(room)]);
      compared += served.length;
    }
  }
  expect(compared).toBeGreaterThan(5_000);
});
