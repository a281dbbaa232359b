/** `purser dlq edit`: replays a dead letter with another payload, which its handler's schema has checked. */
import { createReadStream } from 'node:fs';
import { keyringSourceOf, keysOf } from '../../../crypto/open-keyring.ts';
import { exitCodes } from '../../../errors.ts';
import { editedPayloads } from '../../../handlers/edited-payload.ts';
import { openRegistry } from '../../../handlers/index.ts';
import { editPayload } from '../../../operations/batches/edit-payload.ts';
import { withDatabase } from '../../runtime/with-database.ts';
import { jsonOption } from '../../terminal/command.ts';
import type { Command, Invocation } from '../../terminal/command.ts';
import { inputFile } from '../../terminal/input-file.ts';
import { parseJsonObject, readText } from '../../terminal/json-input.ts';
import { byOption, reasonedActOf, reasonOption } from '../../terminal/operator-options.ts';
import { checkJobId } from '../jobs.ts';

async function payloadOf(invocation: Invocation): Promise<object> {
  const path = invocation.required('payload');
  const text =
    path === '-'
      ? await readText(invocation.input(), 'the payload on stdin')
      : await readText(
          createReadStream(await inputFile(path, { option: '--payload', once: true })),
          `the payload in ${path}`,
        );
  return parseJsonObject(
    text,
    'the file has to hold one JSON object, as purser dlq show --json prints it in "payload"',
  );
}

async function edit(invocation: Invocation): Promise<number> {
  const jobId = checkJobId(invocation.positionals[0] ?? '');
  const { operator, reason } = reasonedActOf(invocation);
  const payload = await payloadOf(invocation);
  const config = invocation.config();
  return withDatabase(config, async ({ database: { system: sql } }) => {
    const registry = await openRegistry(config.PURSER_HANDLERS, undefined, config.PURSER_BUILTINS);
    const openKeys = keysOf(await keyringSourceOf(config));
    const schemaOf = editedPayloads(sql, (type) => registry.get(type), openKeys);
    const made = await editPayload(sql, operator, { jobId, payload, reason, schemaOf });
    invocation.print(
      invocation.flag('json')
        ? JSON.stringify(made)
        : `job ${made.jobId} replays dead letter ${jobId} with changed ${made.changedFields.join(', ')}`,
    );
    return exitCodes.ok;
  });
}

export const editCommand: Command = {
  path: 'dlq edit',
  summary:
    "replay a dead letter with another payload, checked by its handler's schema; the dead letter keeps its own",
  positionals: [{ name: 'ID', help: "the dead letter's job id", required: true }],
  options: {
    payload: {
      value: 'FILE',
      help: 'a file with the whole payload as a JSON object; - reads stdin; "[secret]" keeps the value of a secret field',
      required: true,
    },
    reason: reasonOption,
    by: byOption,
    json: jsonOption,
  },
  run: edit,
};
