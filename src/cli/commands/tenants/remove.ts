/** `purser tenants remove`. */
import { exitCodes } from '../../../errors.ts';
import { removeTenantAs, rowsText } from '../../../operations/tenants/remove.ts';
import { withDatabase } from '../../runtime/with-database.ts';
import { jsonOption } from '../../terminal/command.ts';
import type { Command, Invocation } from '../../terminal/command.ts';
import { byOption, reasonedActOf, reasonOption } from '../../terminal/operator-options.ts';
import { idPositional } from '../tenant-limits.ts';

async function remove(invocation: Invocation): Promise<number> {
  const tenantId = invocation.positionals[0] ?? '';
  const withData = invocation.flag('with-data');
  const { operator, reason } = reasonedActOf(invocation);
  return withDatabase(invocation.config(), async ({ database }) => {
    const removed = await removeTenantAs(database.system, operator, { tenantId, reason, withData });
    if (invocation.flag('json')) invocation.print(JSON.stringify({ tenantId, removed }));
    else {
      const what = rowsText(removed);
      invocation.print(`tenant ${tenantId} is removed${what === '' ? '' : `, with ${what}`}`);
    }
    return exitCodes.ok;
  });
}

export const removeCommand: Command = {
  path: 'tenants remove',
  summary: 'remove a tenant that has no work, no credentials and no LLM calls on its books',
  positionals: [idPositional],
  options: {
    'with-data': {
      help: 'remove its ended jobs, uploads, costs and analyses too; nothing brings them back',
    },
    reason: reasonOption,
    by: byOption,
    json: jsonOption,
  },
  run: remove,
};
