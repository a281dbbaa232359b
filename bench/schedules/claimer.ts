/** A process that claims due schedules until none is left, after a line on stdin. Prints its memory in MB before and after. */
import { once } from 'node:events';
import { connect } from '../../src/db/connect.ts';
import { createLogger } from '../../src/log.ts';
import { createMetrics } from '../../src/metrics.ts';
import { claimOnce, createClaimMemory } from '../../src/scheduler/claim-round.ts';

const rssMb = (): number => process.memoryUsage().rss / 1e6;

const url = process.argv[2] ?? '';
const sql = connect(url, { max: 2, applicationName: 'purser bench claimer' });
const log = createLogger({ level: 'warn', role: 'bench' });
const options = {
  sql,
  log,
  metrics: createMetrics(),
  claimedBy: `claimer-${process.pid}`,
  ...createClaimMemory(log),
};
await sql`select 1`;
process.stdout.write(`${rssMb()}\n`);
await once(process.stdin, 'data');

const anyDue = async (): Promise<boolean> => {
  const [row] = await sql<{ due: boolean }[]>`
    select exists (select from public.tenant_schedules where enabled and next_due <= now()) as due`;
  return row?.due === true;
};
// Rows that another claimer has locked are not there for this one: it asks again until none is due.
while ((await claimOnce(options)) > 0 || (await anyDue()));
process.stdout.write(`${rssMb()}\n`);
await sql.end({ timeout: 5 });
