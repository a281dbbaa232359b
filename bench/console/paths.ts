/** The pages that are measured, and the batch that one of them shows. */
import type { Sql } from '../../src/db/connect.ts';
import { previewBatch } from '../../src/operations/batches/preview.ts';

/** A preview of as many dead letters as a batch takes. Says how long it took. */
export async function batchOfAll(sql: Sql): Promise<string> {
  const startedAt = performance.now();
  const { batchId, jobs } = await previewBatch(
    sql,
    { name: 'bench', proof: 'asserted', door: 'cli', host: 'bench' },
    { act: 'replay', filter: {} },
  );
  console.log(`preview of ${jobs} dead letters: ${(performance.now() - startedAt).toFixed(0)} ms`);
  return batchId;
}

export async function pathsOf(sql: Sql, batchId: string): Promise<string[]> {
  const [one] = await sql<{ dead: string; open: string; fingerprint: string; unknown: string }[]>`
    select (select max(job_id) from purser.dead_letters) as dead, (select max(job_id) from purser.waiting) as open,
      (select fingerprint from purser.dead_letters limit 1) as fingerprint,
      (select id from llm_reservations where status = 'UNKNOWN' limit 1) as unknown`;
  if (one === undefined) throw new Error('nothing was filled');
  return [
    '/now',
    '/jobs',
    '/jobs?state=pending',
    '/jobs?state=completed',
    '/jobs?state=dead_letter',
    '/jobs?state=parked',
    '/jobs?tenant=tenant-7',
    '/jobs?type=type_3',
    '/jobs?tenant=tenant-7&type=type_3&state=completed',
    '/jobs?since=1h',
    '/jobs?code=code_1',
    '/jobs?text=message',
    '/jobs?text=rare7777',
    `/jobs?fingerprint=${one.fingerprint}`,
    '/jobs?key=nothing',
    `/jobs/${one.dead}`,
    `/jobs/${one.open}`,
    '/failures',
    '/failures?of=attempts',
    '/failures?tenant=tenant-7',
    `/failures?fingerprint=${one.fingerprint}`,
    '/failures?text=message',
    '/dead-letters',
    '/dead-letters?tenant=tenant-7',
    '/dead-letters?text=message',
    `/dead-letters?fingerprint=${one.fingerprint}`,
    '/batches',
    `/batches/${batchId}`,
    '/tenants',
    '/tenants/tenant-7',
    '/money',
    '/money?tenant=tenant-7',
    '/money?by=tenant_type_and_model',
    '/money?by=tenant_and_day',
    `/money/call?id=${one.unknown}`,
    '/budgets',
    '/budgets/tenant-7',
    '/schedules',
    '/schedules?tenant=tenant-7',
    '/workers',
    '/pauses',
    '/audit',
    '/audit?tenant=tenant-7',
    '/access',
  ];
}
