/** The commands of batches among those that are walked. */
import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Sql } from '../../../src/db/connect.ts';
import { addJob, begin, claim, finish } from '../../jobs/job-steps.ts';
import type { WalkedCommand } from './walked-commands.ts';

const type = 'finops_analysis';

/** A dead letter of a type whose handler every process has. */
export async function addEditable(sql: Sql, tenantId: string): Promise<string> {
  const jobId = await addJob(sql, tenantId, { jobType: type });
  const job = (await claim(sql, 1_000, type)).find((one) => one.jobId === jobId);
  if (job === undefined) throw new Error('the job was not claimed');
  const error = { code: 'test', message: 'test' };
  await finish(sql, await begin(sql, job), { toState: 'dead_letter', error });
  return jobId;
}

/** Batches without members: commands that run at once do not meet in one. */
export async function addBatches(sql: Sql) {
  const add = async (state: 'running' | 'stopped'): Promise<string> => {
    const [batch] = await sql<{ id: string }[]>`
      insert into purser.batches (act, filter, state, per_second, by, proof, door, expires_at, started_at)
      values ('replay', '{}', ${state}, 1, 'test', 'asserted', 'cli', now(), now()) returning id`;
    return batch?.id ?? '';
  };
  return {
    toStop: await add('running'),
    toResume: await add('stopped'),
    toUndo: await add('running'),
  };
}

const reason = ['--reason', 'walk'];

export const walkedBatchCommands: readonly WalkedCommand[] = [
  {
    path: 'dlq preview',
    covers: [
      'operations/batches/preview.ts freezeMembers',
      'operations/batches/preview.ts insertBatch',
      'operations/batches/preview.ts setMembers',
    ],
    args: ({ tenantId }) => ['--act', 'replay', '--tenant', tenantId],
  },
  {
    path: 'dlq replay',
    covers: ['operations/batches/acts.ts writeStart', 'operations/batches/batch.ts lockBatch'],
    args: ({ tenantId }) => ['--tenant', tenantId, '--yes', ...reason],
  },
  {
    path: 'dlq edit',
    covers: ['operations/batches/edit-payload.ts replayWith'],
    args: ({ toEdit, tenantId }, file) => {
      const payload = join(dirname(file), `${tenantId}.json`);
      writeFileSync(payload, '{"periodDays": 30}');
      return [toEdit, '--payload', payload, ...reason];
    },
  },
  { path: 'dlq batches', reads: true },
  {
    path: 'dlq batches stop',
    covers: ['operations/batches/acts.ts writeState'],
    args: ({ batches }) => [batches.toStop, ...reason],
  },
  {
    path: 'dlq batches resume',
    args: ({ batches }) => [batches.toResume, '--pace', '2', ...reason],
  },
  {
    path: 'dlq batches undo',
    covers: ['operations/batches/acts.ts writeUndo'],
    args: ({ batches }) => [batches.toUndo, ...reason],
  },
];
