/**
 * A database with tenants, and handlers run on it as the worker runs them: through a real token, the
 * tenant role and the commit fence.
 */
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { closeOperatorToken, openOperatorToken, tenantSql } from '../../src/db/tenant.ts';
import type { TenantSql } from '../../src/db/tenant.ts';
import type { Database } from '../../src/db/database.ts';
import { costIngestion } from '../../src/handlers/cost-ingestion.ts';
import type { IngestionResult } from '../../src/costs/uploads/ingest.ts';
import { parsePayload } from '../../src/handlers/define.ts';
import type { Handler, JobContext } from '../../src/handlers/define.ts';
import { toOutcome } from '../../src/handlers/outcome.ts';
import type { Outcome } from '../../src/handlers/outcome.ts';
import { uploadFile } from '../../src/costs/uploads/uploads.ts';
import { createLlm } from '../../src/llm/create-llm.ts';
import type { LlmProviderConfig } from '../../src/llm/create-llm.ts';
import { createHandlerLlm } from '../../src/llm/handler-llm.ts';
import type { Llm } from '../../src/llm/llm.ts';
import { createLogger } from '../../src/log.ts';
import { endAttempt } from '../support/tenants.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { newToken } from '../../src/jobs/attempts.ts';
import { insertAttempt } from '../support/tenants.ts';

interface RunOptions {
  readonly payload?: object;
  /** Default: a new job. */
  readonly jobId?: string;
  /** Who answers; without it a call fails the test. */
  readonly provider?: LlmProviderConfig;
  readonly signal?: AbortSignal;
}

export interface HandlerBench {
  readonly test: TestDatabase;
  readonly database: Database;
  /** Adds a tenant; without an id, one of its own. Returns the id. */
  addTenant(id?: string): Promise<string>;
  /** A file in the bench's own folder. */
  file(name: string, content: string | Buffer): Promise<string>;
  run(handler: Handler, tenantId: string, options?: RunOptions): Promise<Outcome>;
  /** Uploads and ingests; the result of the job. */
  ingest(
    tenantId: string,
    path: string | readonly string[],
    source?: string,
    complete?: boolean,
  ): Promise<IngestionResult>;
  ingestUpload(tenantId: string, uploadId: string): Promise<IngestionResult>;
  asTenant<T>(tenantId: string, fn: (sql: TenantSql) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

export interface StoredFault {
  readonly line: number;
  readonly column_name: string | null;
  readonly reason: string;
}

/** What the ingestions of a tenant reported, by line. */
export async function storedFaults(bench: HandlerBench, tenantId: string): Promise<StoredFault[]> {
  const rows = await bench.test.sql<StoredFault[]>`
    select line::int, column_name, reason from ingest_errors
    where tenant_id = ${tenantId} order by line`;
  return [...rows];
}

let lastJobId = 0;

/** For uploads whose job the test runs by itself. */
export const noJob = (): Promise<void> => Promise.resolve();

const noCall = (): never => {
  throw new Error('this test expects no call');
};
const noLlm: Llm = { generate: noCall, stream: noCall };

function isIngestion(result: unknown): result is IngestionResult {
  return typeof result === 'object' && result !== null && 'deliveries' in result;
}

export async function openBench(level: 'L2' | 'L3' = 'L2'): Promise<HandlerBench> {
  const test = await freshDatabase();
  const database = await test.open({ level });
  const folder = await mkdtemp(join(tmpdir(), 'purser-handlers-'));
  const log = createLogger({ level: 'silent', role: 'test' });

  const asTenant = async <T>(tenantId: string, fn: (sql: TenantSql) => Promise<T>): Promise<T> => {
    const token = await openOperatorToken(database.system, tenantId, 600_000);
    try {
      return await fn(tenantSql(database.tenant, { token }));
    } finally {
      await closeOperatorToken(database.system, token);
    }
  };
  const run = async (
    handler: Handler,
    tenantId: string,
    options: RunOptions = {},
  ): Promise<Outcome> => {
    lastJobId += 1;
    const { jobId = String(lastJobId), provider } = options;
    const signal = options.signal ?? new AbortController().signal;
    const attempt = { tenantId, jobId, attempt: 1, token: newToken(jobId), signal, log };
    await insertAttempt(test.sql, attempt);
    const llm =
      provider === undefined
        ? noLlm
        : createHandlerLlm(
            createLlm({ provider, budgetSql: database.system }).forAttempt(attempt).call,
          );
    try {
      const ctx: JobContext<unknown> = {
        ...attempt,
        payload: await parsePayload(handler, options.payload ?? {}),
        sql: tenantSql(database.tenant, { token: attempt.token, signal }),
        llm,
        enqueue: () => Promise.reject(new Error('this test expects no child job')),
        progress: () => {},
      };
      return toOutcome(await handler.run(ctx));
    } finally {
      await endAttempt(test.sql, attempt);
    }
  };
  const ingestUpload = async (tenantId: string, uploadId: string): Promise<IngestionResult> => {
    const outcome = await run(costIngestion, tenantId, { payload: { uploadId } });
    if (outcome.kind === 'done' && isIngestion(outcome.result)) return outcome.result;
    throw new Error(`ingestion ended as ${JSON.stringify(outcome)}`);
  };
  return {
    test,
    database,
    addTenant: async (id = `tenant-${randomUUID().slice(0, 8)}`) => {
      await test.sql`insert into tenants (id) values (${id}) on conflict do nothing`;
      return id;
    },
    file: async (name, content) => {
      const path = join(folder, name);
      await writeFile(path, content);
      return path;
    },
    run,
    ingest: async (tenantId, path, source, complete) => {
      const request = { database, tenantId, path, source, complete, onReady: noJob };
      const upload = await uploadFile(request);
      return ingestUpload(tenantId, upload.uploadId);
    },
    ingestUpload,
    asTenant,
    close: async () => {
      await rm(folder, { recursive: true, force: true });
      await test.close();
    },
  };
}
