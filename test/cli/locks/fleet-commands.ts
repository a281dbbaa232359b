/** The commands that stop work and empty workers, for the walk of all commands. */
import type { Sql } from '../../../src/db/connect.ts';
import { stoppedStep } from '../../scheduler/arranged-tenant.ts';
import type { WalkedCommand } from './walked-commands.ts';

/** A worker that nothing waits for. */
export async function addDrainedWorker(sql: Sql, tenantId: string): Promise<string> {
  const processId = `worker-of-${tenantId}`;
  await sql`
    insert into heartbeats (process_id, role, version, hostname, pid, beat_at)
    values (${processId}, 'worker', '1', 'h', 1, now() - interval '1 minute')`;
  return processId;
}

export const walkedFleetCommands: readonly WalkedCommand[] = [
  {
    path: 'stop',
    covers: ['jobs/stop/stopped.ts discardBatch'],
    args: () => `--type ${stoppedStep} --reason walk --discard --yes --wait 0`.split(' '),
  },
  { path: 'workers', reads: true },
  {
    path: 'drain',
    covers: ['db/heartbeats.ts requestDrain'],
    args: ({ drained }) => [drained, '--no-wait'],
  },
];
