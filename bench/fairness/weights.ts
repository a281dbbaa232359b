/** How two tenants with full backlogs share the slots, by their weights. */
import { setTimeout as sleep } from 'node:timers/promises';
import { openFleetDatabase, startFleet, tenants } from '../jobs/fleet.ts';
import type { Setting } from '../jobs/fleet.ts';
import { rounded } from '../jobs/report.ts';
import type { Section } from '../jobs/report.ts';
import { addFlood, completed, jobMs, type } from './turns.ts';

const backlog = 8_000;
const [heavy = '', light = ''] = tenants;
const weights = { [heavy]: 3, [light]: 1 };

export async function measureWeights(setting: Setting): Promise<Section> {
  const database = await openFleetDatabase(setting, 'fairness_weights', 8);
  const { sql } = database;
  for (const [tenantId, weight] of Object.entries(weights)) {
    await sql`update tenants set weight = ${weight} where id = ${tenantId}`;
    await addFlood(setting, database, tenantId, backlog);
  }
  const fleet = await startFleet(setting, database, 'redis');
  try {
    // Until the backlog of one of them is over.
    const done = async (): Promise<number> => {
      const [row] = await sql<{ n: number }[]>`
        select max(n)::int as n from (
          select count(*) as n from jobs where job_type = ${type} and outcome = 'completed' group by tenant_id) t`;
      return row?.n ?? 0;
    };
    while ((await done()) < backlog) await sleep(250);
    const ran = await completed(database);
    const [first] = ran;
    const last = ran.filter(({ tenantId }) => tenantId === heavy).at(-1);
    if (first === undefined || last === undefined) throw new Error('no job has run');
    const whole = last.atNs - first.atNs;
    const middle = ran.filter(
      ({ atNs }) => atNs >= first.atNs + whole / 4n && atNs < first.atNs + (3n * whole) / 4n,
    );
    const of = (tenantId: string) => middle.filter((job) => job.tenantId === tenantId).length;
    const ratio = of(heavy) / of(light);
    return {
      name: 'weights',
      title: `jobs that started in the middle half of the run, of two tenants with ${backlog} jobs each`,
      rows: Object.entries(weights).map(([tenant, weight]) => ({
        tenant,
        weight,
        jobs: of(tenant),
        share: `${rounded((100 * of(tenant)) / middle.length, 1)} %`,
      })),
      notes: [
        `Ratio ${rounded(ratio, 2)}, within 10 % of 3: ${Math.abs(ratio / 3 - 1) <= 0.1 ? 'yes' : 'no'}`,
        `${setting.concurrency} slots, jobs of ${jobMs} ms.`,
      ],
    };
  } finally {
    await fleet.stop();
    await database.close();
  }
}
