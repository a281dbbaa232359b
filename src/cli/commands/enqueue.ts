/** `purser enqueue TYPE --tenant T`: one job, checked against its handler's schema where the handler is loaded. */
import { requireBuiltins } from '../../builtins.ts';
import { keyringSourceOf, keysOf } from '../../crypto/open-keyring.ts';
import { exitCodes } from '../../errors.ts';
import { parsePayload } from '../../handlers/define.ts';
import { isBuiltin, openRegistry } from '../../handlers/index.ts';
import { toJobType } from '../../handlers/job-types.ts';
import { payloadSealer } from '../../handlers/seal.ts';
import { enqueue } from '../../jobs/enqueue.ts';
import { listSecretPaths } from '../../jobs/key-versions.ts';
import { unservedWarning } from '../../jobs/unserved/warning.ts';
import { registerJobTypes } from '../../jobs/registration.ts';
import type { Command, Invocation } from '../terminal/command.ts';
import { jsonOption } from '../terminal/command.ts';
import { parseJsonObject, readText } from '../terminal/json-input.ts';
import { wholeNumber } from '../terminal/parse.ts';
import { timeOption } from '../terminal/time-option.ts';
import { withDatabase } from '../runtime/with-database.ts';

/** `-` reads stdin: other users can see a command line, and the shell keeps it. */
async function payloadText(invocation: Invocation): Promise<string> {
  const given = invocation.value('payload') ?? '{}';
  if (given !== '-') return given;
  return readText(invocation.input(), 'the payload on stdin');
}

async function run(invocation: Invocation): Promise<number> {
  const jobType = invocation.positionals[0] ?? '';
  const payload = parseJsonObject(
    await payloadText(invocation),
    `quote it for your shell, e.g. --payload '{"periodDays": 30}'`,
  );
  const priority = wholeNumber(invocation, 'priority', 0, { min: -1000, max: 1000 });
  const runAt = timeOption(invocation, 'run-at');
  const config = invocation.config();
  requireBuiltins(`enqueue ${jobType}`, [jobType], config.PURSER_BUILTINS);
  return withDatabase(config, async ({ database }) => {
    const registry = await openRegistry(config.PURSER_HANDLERS, undefined, config.PURSER_BUILTINS);
    const handler = registry.get(jobType);
    if (handler !== undefined) await parsePayload(handler, payload);
    if (handler !== undefined && !isBuiltin(jobType)) {
      await registerJobTypes(database.system, [toJobType(handler)]);
    }
    const tenantId = invocation.required('tenant');
    const paths = handler?.secretPaths ?? (await listSecretPaths(database.system, jobType));
    const source = paths.length === 0 ? undefined : await keyringSourceOf(config);
    const seal = payloadSealer(database.system, keysOf(source));
    const result = await enqueue(database.system, {
      tenantId,
      jobType,
      payload: await seal({ tenantId, jobType }, payload, paths),
      priority,
      runAt,
      dedupKey: invocation.value('dedup-key'),
      group: invocation.value('group'),
    });
    const warning = await unservedWarning(database.system, jobType);
    if (invocation.flag('json')) invocation.print(JSON.stringify({ ...result, warning }));
    else {
      invocation.print(
        result.created
          ? `job ${result.jobId} accepted${runAt === undefined ? '' : `; it runs from ${runAt.toISOString().replace('.000Z', 'Z')} on`}`
          : `job ${result.jobId} already has this dedup key; no job was added`,
      );
      if (warning !== undefined) invocation.note(`warning: ${warning}`);
    }
    return exitCodes.ok;
  });
}

export const enqueueCommands: readonly Command[] = [
  {
    path: 'enqueue',
    summary: 'enqueue one job for a tenant',
    positionals: [{ name: 'TYPE', help: 'job type, e.g. finops_analysis', required: true }],
    options: {
      tenant: { value: 'T', help: "the tenant's id", required: true },
      payload: {
        value: 'JSON',
        help: 'a JSON object (default {}); - reads it from stdin, as secret fields require',
      },
      'dedup-key': {
        value: 'K',
        help: 'unique per tenant and type until this job has ended and 24 h have passed',
      },
      priority: {
        value: 'N',
        help: '-1000 to 1000 (default 0; write --priority=-5); higher runs first within the tenant',
      },
      'run-at': {
        value: 'TIME',
        help: 'not before this date (in UTC) or time with its zone, e.g. 2026-12-01T08:00:00Z; one that has passed: at once',
      },
      group: {
        value: 'NAME',
        help: 'what the job shares a limit with, beside its tenant and type, e.g. user:42',
      },
      json: jsonOption,
    },
    run,
  },
];
