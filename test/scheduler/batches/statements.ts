/** The statements of a fleet about batches. */
import type { Sql } from '../../../src/db/connect.ts';
import { removeExpiredPreviews, stepBatches } from '../../../src/operations/batches/step.ts';
import { addJob, begin, claim, finish } from '../../jobs/job-steps.ts';
import { waitingStep } from '../arranged-tenant.ts';
import type { Arranged } from '../arranged-tenant.ts';
import type { FleetStatement } from '../money/fleet-statement.ts';

const maxSteps = 20;

async function addBatch(
  sql: Sql,
  state: 'running' | 'previewed',
  members: number,
): Promise<string> {
  const [batch] = await sql<{ id: string }[]>`
    insert into purser.batches (act, filter, state, members, per_second, by, proof, door, expires_at, started_at)
    values ('discard', '{}', ${state}, ${members}, 1000, 'test', 'asserted', 'cli', now() - interval '1 minute', now())
    returning id`;
  return batch?.id ?? '';
}

async function addMember(sql: Sql, batchId: string, { tenantId }: Arranged, jobId: string) {
  await sql`
    insert into purser.batch_members (batch_id, job_id, tenant_id, job_type)
    values (${batchId}, ${jobId}, ${tenantId}, ${waitingStep})`;
}

export const batchStatements: readonly FleetStatement[] = [
  {
    name: 'execute the members of a batch',
    covers: ['operations/batches/step.ts stepBatch'],
    run: async (sql, all, free) => {
      const jobId = await addJob(sql, free.tenantId, { jobType: waitingStep });
      const job = (await claim(sql, 1_000, waitingStep)).find((one) => one.jobId === jobId);
      if (job === undefined) return false;
      const error = { code: 'test', message: 'test' };
      await finish(sql, await begin(sql, job), { toState: 'dead_letter', error });
      const batchId = await addBatch(sql, 'running', all.length);
      for (const each of all) {
        await addMember(sql, batchId, each, each === free ? jobId : each.running.jobId);
      }
      for (let steps = 0; steps < maxSteps; steps += 1) {
        await stepBatches(sql);
        const done = await sql`
          select from jobs where id = ${jobId} and discarded_at is not null`;
        if (done.length > 0) return true;
      }
      return false;
    },
  },
  {
    name: 'remove previews that were not started',
    covers: ['operations/batches/step.ts removeExpiredPreviews'],
    run: async (sql) => {
      await addBatch(sql, 'previewed', 0);
      return (await removeExpiredPreviews(sql)) > 0;
    },
  },
];
