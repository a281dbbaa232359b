/**
 * Batches over a filter, on a Postgres of its own: how long the preview of 100,000 dead letters takes, of which half made
 * LLM calls, and what one executed member costs when steps follow each other without a pace. Prints seconds and
 * microseconds; nothing is asserted. Usage: node --import tsx bench/batches.ts [members]
 */
import { connect } from '../src/db/connect.ts';
import type { Sql } from '../src/db/connect.ts';
import { registerJobTypes } from '../src/jobs/registration.ts';
import type { Operator } from '../src/operations/audit.ts';
import { startBatch } from '../src/operations/batches/acts.ts';
import { batchOf } from '../src/operations/batches/batch.ts';
import type { BatchAct } from '../src/operations/batches/filter.ts';
import { previewBatch } from '../src/operations/batches/preview.ts';
import { stepBatches } from '../src/operations/batches/step.ts';
import { startBenchPostgres } from './budget/server.ts';

const tenants = 100;
const jobType = 'bench_step';
const members = Number(process.argv[2] ?? 100_000);
const operator: Operator = { name: 'bench', proof: 'asserted', door: 'cli' };

async function arrange(sql: Sql): Promise<void> {
  const type = { type: jobType, timeoutMs: 1_000, maxAttempts: 3, onBudget: 'park' } as const;
  await registerJobTypes(sql, [{ ...type, giveUpAfterMs: 86_400_000, payloadSchema: {} }]);
  await sql`
    insert into tenants (id, plan) select 'bench-' || n, 'pro' from generate_series(1, ${tenants}::int) n`;
  await sql`
    with made as (
      insert into jobs (tenant_id, job_type, max_attempts, outcome, error, finished_at)
      select 'bench-' || 1 + n % ${tenants}::int, ${jobType}, 3, 'dead_letter', '{"code": "boom"}', now()
      from generate_series(1, ${members}::int) n returning id, tenant_id
    ), listed as (
      insert into purser.dead_letters (job_id, tenant_id, finished_at, job_type, attempt, error_code, fingerprint, ended_by, words)
      select m.id, m.tenant_id, now(), ${jobType}, 3, 'boom', '0-0000000000000000', 'fatal', '' from made m
    )
    insert into llm_refusals (tenant_id, job_id, job_type, provider, model, period_start, needed_usd)
    select m.tenant_id, m.id, ${jobType}, 'bench', 'bench', date_trunc('month', now()), 0.01 from made m where m.id % 2 = 0`;
  await sql`analyze`;
}

async function seconds(run: () => Promise<unknown>): Promise<number> {
  const begunAt = performance.now();
  await run();
  return (performance.now() - begunAt) / 1_000;
}

/** Of a batch without a pace: each step as if it were due. */
async function execute(sql: Sql, batchId: string): Promise<void> {
  await startBatch(sql, operator, { batchId, perSecond: 1_000, reason: 'bench' });
  while ((await batchOf(sql, batchId)).state === 'running') {
    await sql`update purser.batches set next_at = '-infinity' where id = ${batchId}`;
    await stepBatches(sql);
  }
}

const server = await startBenchPostgres();
const sql = connect(await server.database('batches'), { max: 2, applicationName: 'bench' });
try {
  await arrange(sql);
  const rows: object[] = [];
  for (const act of ['replay', 'discard'] satisfies BatchAct[]) {
    const filter = { jobType, code: 'boom' };
    let batchId = '';
    const previewS = await seconds(async () => {
      ({ batchId } = await previewBatch(sql, operator, { act, filter }));
    });
    // A tenth of them by each act, so that the second one finds some.
    await sql`
      delete from purser.batch_members where batch_id = ${batchId} and job_id % 10 <> ${act === 'replay' ? 0 : 1}`;
    const executeS = await seconds(() => execute(sql, batchId));
    const { done } = await batchOf(sql, batchId);
    rows.push({
      act,
      members,
      'preview, s': Number(previewS.toFixed(2)),
      executed: done,
      'each, us': Math.round((executeS / done) * 1e6),
    });
  }
  console.table(rows);
} finally {
  await sql.end({ timeout: 5 });
  await server.stop();
}
