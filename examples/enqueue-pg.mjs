// Enqueue in your own transaction with `pg`, by the name of the job type.
//   npm run build && DATABASE_URL=... node examples/enqueue-pg.mjs TENANT
import { Client } from 'pg';
import { enqueue } from 'purser';

const [tenantId = 'acme'] = process.argv.slice(2);
const client = new Client({ connectionString: process.env.DATABASE_URL });
await client.connect();
try {
  await client.query('begin');
  const accepted = await enqueue(client, 'finops_analysis', {
    tenantId,
    payload: { periodDays: 30 },
    dedupKey: 'example by pg',
    onDuplicate: 'replace',
    runAt: new Date(Date.now() + 60_000),
  });
  await client.query('commit');
  console.log('accepted', accepted);
} finally {
  await client.end();
}
