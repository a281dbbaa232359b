/** A user's handlers that do with secrets everything that they should not. */
import { z } from 'zod';
import { defineHandler, openKeyring, secret } from '../../dist/index.js';

const keyring = await openKeyring();
const payload = z.object({
  token: secret(z.string()),
  how: z.enum([
    'return',
    'throw',
    'cause',
    'retry',
    'cancel',
    'leave',
    'timer',
    'late',
    'child',
    'alone',
    'after',
  ]),
});

const credentialsOf = async ({ sql, tenantId }) => {
  const [account] = await sql`select credentials from aws_accounts order by account_id limit 1`;
  const place = { tenantId, column: 'aws_accounts.credentials', purpose: 'api_key' };
  return keyring.decryptString(account.credentials, place);
};

/** Says its secrets everywhere, and then ends in the way that it is told to. */
const leak = defineHandler({
  type: 'leak',
  timeoutMs: 6_000,
  maxAttempts: 2,
  backoff: { baseMs: 1, capMs: 1 },
  payload,
  run: async (ctx) => {
    const { token, how } = ctx.payload;
    const credentials = await credentialsOf(ctx);
    const { secretKey } = JSON.parse(credentials);
    const said = `token ${token}, key ${secretKey}, all ${credentials}`;
    console.log(`console: ${said}`);
    console.error('console:', { token, secretKey });
    process.stdout.write(`stdout: ${said}\n`);
    process.stdout.write(Buffer.from(`bytes: ${said}\n`));
    ctx.log.debug({ token, headers: { 'x-api-key': secretKey } }, said);
    ctx.log.error({ error: new Error(said), nested: { deep: [token] } }, said);
    ctx.progress(0.5, said);
    await new Promise((resolve) => setTimeout(resolve, 300));
    const fault = Object.assign(new Error(`refused: ${said}`), { response: { body: said } });
    if (how === 'throw') throw fault;
    if (how === 'cause') throw new Error('outer', { cause: fault });
    if (how === 'retry' || how === 'cancel') {
      throw Object.assign(fault, { status: how === 'cancel' ? 400 : 503, code: token });
    }
    if (how === 'leave') void Promise.reject(fault);
    if (how === 'timer')
      setTimeout(() => {
        throw fault;
      }, 1);
    if (how === 'after') {
      setTimeout(() => console.log(`after: ${said}`), 1_000);
      setTimeout(() => {
        throw fault;
      }, 1_500);
    }
    if (how === 'late') await new Promise((resolve) => setTimeout(resolve, 600_000));
    if (how === 'child') await ctx.enqueue('leak', { token, how: 'throw' });
    if (how === 'alone') for (;;) Math.sqrt(2);
    await new Promise((resolve) => setTimeout(resolve, 100));
    return { said, token, [token]: [secretKey], encoded: Buffer.from(token).toString('base64') };
  },
});

export const handlers = [leak];
