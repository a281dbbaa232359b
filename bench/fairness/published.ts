/** What others publish about fairness between tenants: their words are on the pages named; nothing is measured here. */
import type { Section } from '../jobs/report.ts';

export function published(): Promise<Section> {
  return Promise.resolve({
    name: 'published',
    title: 'what others document about fairness between tenants; nothing here is measured',
    rows: [
      {
        product: 'BullMQ Pro',
        way: 'groups in a queue, served in turn; a concurrency per group; a job without a group goes first',
        page: 'docs.bullmq.io/bullmq-pro/groups',
      },
      {
        product: 'River Pro',
        way: 'a limit of running jobs per partition (a field of the arguments); what is beyond it is passed over, the rest in the order of priority and time',
        page: 'riverqueue.com/docs/pro/concurrency-limits',
      },
      {
        product: 'Oban Pro',
        way: 'limits of rate per partition (fields of the arguments) in the Smart Engine',
        page: 'hexdocs.pm/oban/2.9.0/pro-changelog.html',
      },
      {
        product: 'Hatchet',
        way: 'GROUP_ROUND_ROBIN: the runs of a concurrency limit rotate over the values of a key',
        page: 'docs.hatchet.run/sdks/typescript-sdk/fairness',
      },
      {
        product: 'Hatchet',
        way: 'its article on fair queues in Postgres, by round robin over a key of the group',
        page: 'hatchet.run/blog/multi-tenant-queues',
      },
    ],
    notes: [],
  });
}
