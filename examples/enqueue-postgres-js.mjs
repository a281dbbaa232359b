// Enqueue in the transaction of your own work, with postgres.js.
//   npm run build && DATABASE_URL=... node examples/enqueue-postgres-js.mjs TENANT
import postgres from 'postgres';
import { defineHandler, enqueue, enqueueMany } from 'purser';
import { z } from 'zod';

export const analysis = defineHandler({
  type: 'finops_analysis',
  timeoutMs: 180_000,
  maxAttempts: 5,
  payload: z.object({ periodDays: z.number().int().min(7).max(92).default(30) }),
  run: async () => {},
});

const [tenantId = 'acme'] = process.argv.slice(2);
const sql = postgres(process.env.DATABASE_URL ?? 'postgres://127.0.0.1:5432/purser');
try {
  // Committed together: the tenant's activity, and the job.
  const accepted = await sql.begin(async (tx) => {
    await tx`update tenants set last_active_at = now() where id = ${tenantId}`;
    return enqueue(tx, analysis, {
      tenantId,
      payload: { periodDays: 30 },
      dedupKey: 'example',
    });
  });
  console.log('accepted', accepted);

  // Rolled back: no job.
  await sql
    .begin(async (tx) => {
      await enqueue(tx, analysis, { tenantId, payload: { periodDays: 14 } });
      throw new Error('an error after the enqueue');
    })
    .catch((error) => console.log('rolled back:', error.message));

  const many = await enqueueMany(sql, analysis, [
    { tenantId, payload: { periodDays: 7 }, dedupKey: 'example week' },
    { tenantId, payload: { periodDays: 90 }, dedupKey: 'example quarter' },
  ]);
  console.log('accepted many', many);
} finally {
  await sql.end();
}
