/** `purser schedules run`: one job of a schedule's type for a tenant now, beside its ticks. */
import { requireBuiltins } from '../../../builtins.ts';
import { exitCodes } from '../../../errors.ts';
import { enqueue } from '../../../jobs/enqueue.ts';
import { withDatabase } from '../../runtime/with-database.ts';
import { jsonOption } from '../../terminal/command.ts';
import type { Command, Invocation } from '../../terminal/command.ts';
import { findTenantSchedule, targetPositional } from './target.ts';

async function run(invocation: Invocation): Promise<number> {
  const jobType = invocation.positionals[0] ?? '';
  const tenantId = invocation.required('tenant');
  const config = invocation.config();
  requireBuiltins(`schedules run ${jobType}`, [jobType], config.PURSER_BUILTINS);
  return withDatabase(config, async ({ database: { system: sql } }) => {
    await findTenantSchedule(sql, { jobType, cohort: null, tenantId });
    const { jobId } = await enqueue(sql, { tenantId, jobType, payload: {} });
    invocation.print(
      invocation.flag('json')
        ? JSON.stringify({ jobId, jobType, tenantId })
        : `job ${jobId} accepted; the ticks of the schedule stay as they are`,
    );
    return exitCodes.ok;
  });
}

export const runCommand: Command = {
  path: 'schedules run',
  summary: 'enqueue the job of a schedule for one tenant now, beside its ticks',
  positionals: [targetPositional],
  options: {
    tenant: { value: 'T', help: 'the tenant', required: true },
    json: jsonOption,
  },
  run,
};
