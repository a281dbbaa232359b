/** `purser why`: why a job, the jobs of a type or of a tenant, or those of the fleet do not run. */
import { UsageError, exitCodes } from '../../../errors.ts';
import { why } from '../../../operations/why/why.ts';
import type { WhyTarget } from '../../../operations/why/why.ts';
import { causeLines, whyTitle } from '../../reports/causes.ts';
import { withDatabase } from '../../runtime/with-database.ts';
import type { Command, Invocation } from '../../terminal/command.ts';
import { jsonOption } from '../../terminal/command.ts';
import { checkJobId } from '../jobs.ts';

function targetOf(invocation: Invocation): WhyTarget {
  const [given] = invocation.positionals;
  const jobType = invocation.value('type');
  const tenantId = invocation.value('tenant');
  if (given === undefined) return { jobType, tenantId };
  if (jobType !== undefined || tenantId !== undefined) {
    throw new UsageError('name a job, or --type and --tenant, not both');
  }
  return { jobId: checkJobId(given) };
}

async function run(invocation: Invocation): Promise<number> {
  const target = targetOf(invocation);
  return withDatabase(invocation.config(), async ({ database }) => {
    const answer = await why(database.system, target);
    invocation.print(
      invocation.flag('json')
        ? JSON.stringify(answer)
        : [whyTitle(answer), ...causeLines(answer.causes)].join('\n'),
    );
    return exitCodes.ok;
  });
}

export const whyCommands: readonly Command[] = [
  {
    path: 'why',
    summary:
      'say why a job, the jobs of a type or of a tenant, or those of the fleet do not run: all causes, the one to lift first first',
    positionals: [{ name: 'JOB', help: "the job's id; without it: the fleet", required: false }],
    options: {
      type: { value: 'TYPE', help: 'jobs of this type' },
      tenant: { value: 'T', help: 'jobs of this tenant' },
      json: jsonOption,
    },
    run,
  },
];
