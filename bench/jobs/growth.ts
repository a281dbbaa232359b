/** CPU per completed no-op job as more jobs wait, and as they belong to more tenants: it should not grow. */
import { setTimeout as sleep } from 'node:timers/promises';
import { heartbeatMs, purser, warmUpJobs } from './completion.ts';
import type { Sample } from './completion.ts';
import { fleetCpu, openFleetDatabase, startFleet, tenants, untilNoVacuum } from './fleet.ts';
import type { Setting } from './fleet.ts';
import { median, rounded } from './report.ts';
import type { Row, Section } from './report.ts';

/** Waiting jobs when the dispatch begins, their tenants, and how often that is measured. */
const stages = [
  { jobs: 1_000, tenantCount: 10, samples: 5 },
  { jobs: 10_000, tenantCount: 10, samples: 3 },
  { jobs: 100_000, tenantCount: 10, samples: 1 },
  { jobs: 100_000, tenantCount: 10_000, samples: 1 },
  { jobs: 1_000_000, tenantCount: 10, samples: 1 },
  { jobs: 1_000, tenantCount: 10, samples: 5 },
] as const;

export async function measureGrowth(setting: Setting): Promise<Section> {
  const database = await openFleetDatabase(setting, 'growth');
  const fleet = await startFleet(setting, database, 'redis');
  const readers = fleetCpu(setting, fleet);
  try {
    const many = Array.from({ length: 10_000 }, (_, index) => `tenant-${index}`);
    await database.sql`
      insert into tenants (id, plan) select unnest(${many}::text[]), 'enterprise' on conflict do nothing`;
    const few = purser(setting, database, readers);
    await few(warmUpJobs);
    await sleep(heartbeatMs);
    await few(warmUpJobs * 20);
    const rows: Row[] = [];
    let first: number | undefined;
    for (const { jobs, tenantCount, samples } of stages) {
      const measure = purser(setting, database, readers, {
        owners: tenantCount === 10 ? tenants : many,
      });
      const taken: Sample[] = [];
      await untilNoVacuum(database.sql);
      for (let sample = 0; sample < samples; sample += 1) taken.push(await measure(jobs));
      const cpu = Object.fromEntries(
        Object.keys(readers).map((part) => [
          part,
          median(taken.map((sample) => sample.cpu[part] ?? 0)),
        ]),
      );
      const total = Object.values(cpu).reduce((sum, us) => sum + us, 0);
      first ??= total;
      rows.push({
        waiting: jobs,
        tenants: tenantCount,
        'jobs/s': Math.round(median(taken.map(({ perSecond }) => perSecond))),
        'cpu/job': total,
        'x first': rounded(total / first, 2),
        ...Object.fromEntries(Object.entries(cpu).map(([part, us]) => [`cpu ${part}`, us])),
      });
    }
    return {
      name: 'growth',
      title: 'no-op jobs completed while so many wait, queues in Redis',
      rows,
      notes: [
        'One sample completes all that wait; of the smallest, medians of 5. The table of jobs keeps all of them.',
        'cpu: microseconds of processor per job. A sample of 1,000 is mostly the start of the work.',
      ],
    };
  } finally {
    await fleet.stop();
    await database.close();
  }
}
