/** `purser queues separate`: gives a copied database queues of its own in the queue store. */
import { listHeartbeats, liveWithinMs } from '../../db/heartbeats.ts';
import { exitCodes, PurserError, UsageError } from '../../errors.ts';
import { separateQueuesAs } from '../../operations/queues.ts';
import { withDatabase } from '../runtime/with-database.ts';
import type { Command, Invocation } from '../terminal/command.ts';
import { actOf, actOptions } from '../terminal/operator-options.ts';

async function separate(invocation: Invocation): Promise<number> {
  const config = invocation.config();
  if (!invocation.flag('yes')) {
    throw new UsageError(
      'run this on the copy of a database, not on the original; add --yes to confirm',
    );
  }
  const { operator, reason } = actOf(invocation);
  return withDatabase(config, async ({ database }) => {
    const live = await listHeartbeats(database.system, liveWithinMs);
    if (live.length > 0) {
      throw new PurserError(
        'roles_running',
        `stop the roles of this database first, and wait 15 s: ${live.map(({ processId }) => processId).join(', ')}`,
      );
    }
    await separateQueuesAs(database.system, operator, { reason });
    invocation.print(
      'this database has queues of its own from now on; jobs that were queued are dispatched again',
    );
    return exitCodes.ok;
  });
}

export const queueCommands: readonly Command[] = [
  {
    path: 'queues separate',
    summary: 'after copying a database: give the copy queues of its own in the same Redis',
    options: { yes: { help: 'confirm that this database is the copy' }, ...actOptions },
    run: separate,
  },
];
