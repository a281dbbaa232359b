/** Handlers of a user who reads credentials in his jobs, with what the package exports. */
import { z } from 'zod';
import { defineHandler, openKeyring } from '../../dist/index.js';

const keyring = await openKeyring();

/** Opens a few hundred rows anywhere in the table; fails when one does not open, or is not what it was. */
const readAccounts = defineHandler({
  type: 'read_accounts',
  timeoutMs: 60_000,
  maxAttempts: 1,
  payload: z.object({ from: z.string(), rows: z.number() }),
  run: async ({ sql, tenantId, payload: { from, rows } }) => {
    const found = await sql`
      select account_id, credentials from aws_accounts
      where account_id >= ${from} order by account_id limit ${rows}`;
    for (const { account_id: accountId, credentials } of found) {
      const place = { tenantId, column: 'aws_accounts.credentials', purpose: 'api_key' };
      const opened = await keyring.decryptString(credentials, place);
      if (opened !== `secret of ${String(accountId)}`) {
        throw new Error(`account ${String(accountId)} is not what it was`);
      }
    }
    return { read: found.length };
  },
});

export const handlers = [readAccounts];
