/** Job types in the database: what SQL callers, web and CLI need to know without loading a handler. */
import type { Queryable } from '../db/connect.ts';
import { lockTimeout } from '../db/row-faults.ts';

export interface JobType {
  readonly type: string;
  readonly timeoutMs: number;
  readonly maxAttempts: number;
  readonly onBudget: 'park' | 'fail';
  readonly giveUpAfterMs: number;
  /** JSON Schema of the payload, or {} if the schema library cannot export one. */
  readonly payloadSchema: object;
  /** SQL/JSON paths of payload fields that must be encrypted. Default none. */
  readonly secretPaths?: readonly string[];
}

/** Inserts or updates job types. */
export async function registerJobTypes(sql: Queryable, types: readonly JobType[]): Promise<number> {
  const rows = JSON.stringify(types);
  const written = await sql`
    with ${lockTimeout(sql)}
    insert into public.job_types
      (job_type, payload_schema, timeout_ms, max_attempts, on_budget, give_up_after_ms, secret_paths,
       registered_at)
    select t->>'type', t->'payloadSchema', (t->>'timeoutMs')::int, (t->>'maxAttempts')::int,
           t->>'onBudget', (t->>'giveUpAfterMs')::bigint,
           array(select jsonb_array_elements_text(coalesce(t->'secretPaths', '[]'))), now()
    from lock_timeout, jsonb_array_elements(${rows}::text::jsonb) t
    order by 1
    on conflict (job_type) do update set
      payload_schema = excluded.payload_schema, timeout_ms = excluded.timeout_ms,
      max_attempts = excluded.max_attempts, on_budget = excluded.on_budget,
      give_up_after_ms = excluded.give_up_after_ms, secret_paths = excluded.secret_paths,
      registered_at = excluded.registered_at`;
  return written.count;
}

/** Names of all registered types, in alphabetical order. */
export async function listJobTypes(sql: Queryable): Promise<string[]> {
  const rows = await sql<{ job_type: string }[]>`
    select job_type from public.job_types order by job_type`;
  return rows.map(({ job_type }) => job_type);
}
