/** The files of a project that depends on the package. */

export const handlersModule = `
import { defineHandler } from 'purser';
import { z } from 'zod';

export const orderReceipt = defineHandler({
  type: 'order_receipt',
  timeoutMs: 10_000,
  maxAttempts: 2,
  payload: z.object({ order: z.string(), copies: z.coerce.number().default(1) }),
  run: async ({ payload, sql }) => {
    const [row] = await sql\`select id from tenants\`;
    return { tenant: row.id, order: payload.order, copies: payload.copies };
  },
});
export const handlers = [orderReceipt];
`;

/** An order and its job are committed together, or neither is. */
export const application = `
import postgres from 'postgres';
import { enqueue } from 'purser';
import { orderReceipt } from './my-handlers.mjs';

const sql = postgres(process.env.DATABASE_URL);
await sql\`create table orders (id text primary key)\`;

const place = (order, fail) =>
  sql.begin(async (tx) => {
    await tx\`insert into orders (id) values (\${order})\`;
    const payload = { order, copies: '2' };
    const job = await enqueue(tx, orderReceipt, { tenantId: 'acme', payload, dedupKey: order });
    if (fail) throw new Error('the card was refused');
    return job;
  });

const refused = await place('o-1', true).catch((error) => error.message);
if (refused !== 'the card was refused') throw new Error(refused);
const [afterRollback] = await sql\`
  select (select count(*)::int from orders) as orders,
         (select count(*)::int from background_jobs where job_type = 'order_receipt') as jobs\`;
const { jobId } = await place('o-1', false);
console.log(JSON.stringify({ jobId, afterRollback }));
await sql.end();
`;

/** Prints the marks of the project's own driver and of the two copies that purser's code gets. */
const printMarks = `
  const own = require('postgres').patchedBy ?? null;
  const entry = require.resolve('purser');
  const commonJs = createRequire(entry)('postgres').patchedBy;
  const driver = await import(pathToFileURL(join(dirname(entry), 'db', 'connect.js')).href);
  const pool = driver.connect('postgres://localhost/none', { max: 1, applicationName: 'marks' });
  await pool.end();
  const esm = (await import(pathToFileURL(join(
    dirname(createRequire(entry).resolve('postgres')), '..', '..', 'src', 'index.js')).href)).default.patchedBy;
  console.log(JSON.stringify({ enqueue: typeof enqueue, own, purser: { esm, commonJs } }));
`;

export const esmConsumer = `
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { enqueue } from 'purser';
const require = createRequire(import.meta.url);
${printMarks}
`;

/** Node 20.19 and newer load purser's ES modules by require(). */
export const commonJsConsumer = `
const { createRequire } = require('node:module');
const { dirname, join } = require('node:path');
const { pathToFileURL } = require('node:url');
const { enqueue } = require('purser');
(async () => {${printMarks}})();
`;

/** Compiled, never run. Lines that must not compile are marked, so that a type that became loose is an error. */
export const typedSource = `
import postgres from 'postgres';
import { z } from 'zod';
import { defineHandler, done, enqueue, enqueueMany, PurserError, snooze } from 'purser';
import type { Handler, JobContext, Outcome } from 'purser';

const payload = z.object({ order: z.string(), copies: z.number().default(1) });

export const receipt = defineHandler({
  type: 'receipt',
  timeoutMs: 1_000,
  maxAttempts: 2,
  onBudget: 'fail',
  payload,
  run: async ({ payload, sql, llm, signal, log, enqueue: child }): Promise<Outcome> => {
    const copies: number = payload.copies;
    signal.throwIfAborted();
    const rows = await sql<{ total: string }>\`select sum(billed_cost)::text as total from cost_records\`;
    const answer = await llm.generate({ system: 's', prompt: 'p', schema: payloadOf, maxOutputTokens: 9 });
    log.info({ order: answer.object?.order }, 'explained');
    if (rows.length === 0) return snooze({ afterMs: 1_000, reason: 'no costs yet' });
    const { jobId } = await child('receipt', { order: 'o-2' }, { priority: 3 });
    return done({ copies, total: rows[0]?.total ?? null, jobId });
  },
});
const payloadOf = payload;

export const all: readonly Handler[] = [receipt];
export const tenantOf = (ctx: JobContext<unknown>): string => ctx.tenantId;

const sql = postgres('postgres://localhost/shop');

export async function accept(): Promise<string> {
  const { jobId } = await sql.begin((tx) =>
    enqueue(tx, receipt, { tenantId: 'acme', payload: { order: 'o-1' }, onDuplicate: 'replace' }),
  );
  await enqueueMany(sql, receipt, [{ tenantId: 'acme', payload: { order: 'o-1', copies: 2 } }]);
  await enqueue(sql, 'by_name', { tenantId: 'acme', payload: { anything: true } });
  // @ts-expect-error the payload is not optional
  await enqueue(sql, receipt, { tenantId: 'acme' });
  // @ts-expect-error an order is a string
  await enqueue(sql, receipt, { tenantId: 'acme', payload: { order: 1 } });
  // @ts-expect-error there is no such policy
  await enqueue(sql, receipt, { tenantId: 'acme', payload: { order: '1' }, onDuplicate: 'maybe' });
  return jobId;
}

export const codeOf = (error: unknown): string =>
  error instanceof PurserError ? error.code : 'unknown';
`;

export const typedConfig = {
  compilerOptions: {
    target: 'es2023',
    module: 'nodenext',
    types: ['node'],
    strict: true,
    exactOptionalPropertyTypes: true,
    noUncheckedIndexedAccess: true,
    noPropertyAccessFromIndexSignature: true,
    skipLibCheck: false,
    noEmit: true,
  },
  files: ['typed.ts'],
};
