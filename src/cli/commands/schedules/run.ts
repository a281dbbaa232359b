/** `purser schedules run`: one job of a schedule's type for a tenant now, beside its ticks. */
import { requireBuiltins } from '../../../builtins.ts';
import { exitCodes } from '../../../errors.ts';
import { runScheduleAs } from '../../../operations/schedules/run.ts';
import { withDatabase } from '../../runtime/with-database.ts';
import { jsonOption } from '../../terminal/command.ts';
import type { Command, Invocation } from '../../terminal/command.ts';
import { actOf, actOptions } from '../../terminal/operator-options.ts';
import { targetPositional } from './target.ts';

async function run(invocation: Invocation): Promise<number> {
  const jobType = invocation.positionals[0] ?? '';
  const tenantId = invocation.required('tenant');
  const { operator, reason } = actOf(invocation);
  const config = invocation.config();
  requireBuiltins(`schedules run ${jobType}`, [jobType], config.PURSER_BUILTINS);
  return withDatabase(config, async ({ database: { system: sql } }) => {
    const jobId = await runScheduleAs(sql, operator, { jobType, tenantId, reason });
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
    ...actOptions,
    json: jsonOption,
  },
  run,
};
