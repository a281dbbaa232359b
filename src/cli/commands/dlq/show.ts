/** `purser dlq show`: a dead letter with its attempts, their errors and cost, its replays, and what to do. */
import { exitCodes } from '../../../errors.ts';
import { findDeadLetter } from '../../../operations/failures/dead-letter.ts';
import { deadLetterPage } from '../../reports/dead-letter.ts';
import { withDatabase } from '../../runtime/with-database.ts';
import type { Command, Invocation } from '../../terminal/command.ts';
import { jsonOption } from '../../terminal/command.ts';
import { checkJobId } from '../jobs.ts';

async function show(invocation: Invocation): Promise<number> {
  const jobId = checkJobId(invocation.positionals[0] ?? '');
  return withDatabase(invocation.config(), async ({ database }) => {
    const letter = await findDeadLetter(database.system, jobId);
    invocation.print(invocation.flag('json') ? JSON.stringify(letter) : deadLetterPage(letter));
    return exitCodes.ok;
  });
}

export const showCommand: Command = {
  path: 'dlq show',
  summary:
    'show one dead letter: its attempts with errors, stack and LLM cost, its replays, and what to do',
  positionals: [{ name: 'ID', help: "the dead letter's job id", required: true }],
  options: { json: jsonOption },
  run: show,
};
